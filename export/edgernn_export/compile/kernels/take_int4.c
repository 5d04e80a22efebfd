/* Rows of a table of 4-bit codes, two a byte, the first in the low half; otherwise as take_int8. */
static void take_int4(const uint8_t *codes, const float *scales, const uint8_t *zero_points, const int64_t *indices,
                      float *y, int rows, int columns, int block, int count) {
    const int blocks = (columns + block - 1) / block;
    for (int i = 0; i < count; ++i, y += columns) {
        const size_t row = (size_t)row_index(indices[i], rows);
        const uint8_t *row_codes = codes + row * (size_t)(columns / 2);
        for (int column = 0; column < columns; ++column) {
            const size_t at = row * (size_t)blocks + (size_t)(column / block);
            const int code = row_codes[column / 2] >> (column % 2 ? 4 : 0) & 15;
            y[column] = (float)(code - zero_points[at]) * scales[at];
        }
    }
}
