/* The smallest element of each row of x [rows][size]; NaN if the row has one. */
static void reduce_min(const float *x, float *y, int rows, int size) {
    for (int row = 0; row < rows; ++row, x += size) {
        float found = x[0];
        for (int i = 1; i < size; ++i) {
            found = x[i] < found || x[i] != x[i] ? x[i] : found;
        }
        y[row] = found;
    }
}
