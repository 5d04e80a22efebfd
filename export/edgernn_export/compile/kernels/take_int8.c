/* Rows of a table of bytes [rows][columns] at count indices; each block of columns has a scale and a zero point. */
static void take_int8(const uint8_t *codes, const float *scales, const uint8_t *zero_points, const int64_t *indices,
                      float *y, int rows, int columns, int block, int count) {
    const int blocks = (columns + block - 1) / block;
    for (int i = 0; i < count; ++i, y += columns) {
        const size_t row = (size_t)row_index(indices[i], rows);
        const uint8_t *row_codes = codes + row * (size_t)columns;
        for (int b = 0; b < blocks; ++b) {
            const float scale = scales[row * (size_t)blocks + (size_t)b];
            const int zero_point = zero_points[row * (size_t)blocks + (size_t)b];
            const int end = b + 1 < blocks ? (b + 1) * block : columns;
            for (int column = b * block; column < end; ++column) {
                y[column] = (float)(row_codes[column] - zero_point) * scale;
            }
        }
    }
}
