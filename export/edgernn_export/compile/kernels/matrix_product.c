/* y = a b for count pairs of matrices [rows][inner] and [inner][columns]. */
static void matrix_product(const float *a, const float *b, float *y, int count, int rows, int inner, int columns) {
    for (int row = 0; row < count * rows; ++row) {
        const float *b_rows = b + (size_t)(row / rows) * (size_t)inner * (size_t)columns;
        const float *a_row = a + (size_t)row * (size_t)inner;
        float *y_row = y + (size_t)row * (size_t)columns;
        for (int column = 0; column < columns; ++column) {
            y_row[column] = 0.0f;
        }
        for (int k = 0; k < inner; ++k) {
            for (int column = 0; column < columns; ++column) {
                const float term = a_row[k] * b_rows[(size_t)k * (size_t)columns + (size_t)column];
                y_row[column] += term;
            }
        }
    }
}
