/* The softmax of each row of x [rows][size]. */
static void softmax(const float *x, float *y, int rows, int size) {
    for (int row = 0; row < rows; ++row, x += size, y += size) {
        float largest, total;
        reduce_max(x, &largest, 1, size);
        for (int i = 0; i < size; ++i) {
            y[i] = exp_f32(x[i] - largest);
        }
        reduce_sum(y, &total, 1, size);
        for (int i = 0; i < size; ++i) {
            y[i] = y[i] / total;
        }
    }
}
