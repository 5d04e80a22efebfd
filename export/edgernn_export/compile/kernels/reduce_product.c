/* The product of each row of x [rows][size]. */
static void reduce_product(const float *x, float *y, int rows, int size) {
    for (int row = 0; row < rows; ++row, x += size) {
        float product = 1.0f;
        for (int i = 0; i < size; ++i) {
            product *= x[i];
        }
        y[row] = product;
    }
}
