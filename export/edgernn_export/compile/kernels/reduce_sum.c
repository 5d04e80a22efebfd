/* The sum of each row of x [rows][size], in 16 parts that are added last, so that it is the same on every target. */
static void reduce_sum(const float *x, float *y, int rows, int size) {
    for (int row = 0; row < rows; ++row, x += size) {
        float parts[16] = {0};
        int i = 0;
        for (; i + 16 <= size; i += 16) {
            for (int part = 0; part < 16; ++part) {
                parts[part] += x[i + part];
            }
        }
        for (int part = 0; i + part < size; ++part) {
            parts[part] += x[i + part];
        }
        for (int half = 8; half > 0; half /= 2) {
            for (int part = 0; part < half; ++part) {
                parts[part] += parts[part + half];
            }
        }
        y[row] = parts[0];
    }
}
