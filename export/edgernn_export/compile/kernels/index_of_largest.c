/* The index of the first of the largest elements of each row of x [rows][size]. */
static void index_of_largest(const float *x, int64_t *y, int rows, int size) {
    for (int row = 0; row < rows; ++row, x += size) {
        int found = 0;
        for (int i = 1; i < size; ++i) {
            found = x[i] > x[found] ? i : found;
        }
        y[row] = found;
    }
}
