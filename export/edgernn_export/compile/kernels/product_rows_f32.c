/* sums [16] plus x [16] times weights [16], one by one. */
static inline void add_products_f32(const float *x, const float *weights, float *sums) {
    for (int i = 0; i < 16; i++) {
        float product = x[i] * weights[i];
        sums[i] = sums[i] + product;
    }
}

/* y [outputs] = bias [outputs] (or 0) + weights [outputs][inputs] times x [inputs], in 16 partial sums. */
static void product_rows_f32(const float *x, const float *weights, const float *bias, float *y, int inputs,
                             int outputs) {
    int whole = inputs / 16 * 16;
    size_t rest = (size_t)(inputs - whole) * sizeof(float);
    float last[16] = {0}, last_weights[16] = {0};
    memcpy(last, x + whole, rest);
    for (int n = 0; n < outputs; n++, weights += inputs) {
        float sums[16] = {0};
        for (int k = 0; k < whole; k += 16) {
            add_products_f32(x + k, weights + k, sums);
        }
        memcpy(last_weights, weights + whole, rest);
        add_products_f32(last, last_weights, sums);
        for (int i = 0; i < 8; i++) {
            sums[i] = sums[i] + sums[i + 8];
        }
        for (int i = 0; i < 4; i++) {
            sums[i] = sums[i] + sums[i + 4];
        }
        for (int i = 0; i < 2; i++) {
            sums[i] = sums[i] + sums[i + 2];
        }
        float sum = sums[0] + sums[1];
        y[n] = (bias ? bias[n] : 0.0f) + sum;
    }
}
