/* The sums of each row of x [rows][size] up to each of its elements. */
static void cumulative_sum(const float *x, float *y, int rows, int size) {
    for (int row = 0; row < rows; ++row, x += size, y += size) {
        float total = 0.0f;
        for (int i = 0; i < size; ++i) {
            total += x[i];
            y[i] = total;
        }
    }
}
