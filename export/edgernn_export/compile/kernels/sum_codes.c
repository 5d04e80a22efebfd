/* The sums of the rows of codes [rows][size]. */
static void sum_codes(const int8_t *codes, int32_t *sums, int rows, int size) {
    for (int row = 0; row < rows; ++row, codes += size) {
        int32_t sum = 0;
        for (int i = 0; i < size; ++i) {
            sum += codes[i];
        }
        sums[row] = sum;
    }
}
