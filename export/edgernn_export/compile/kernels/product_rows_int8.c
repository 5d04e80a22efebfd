/* y [outputs] = bias [outputs] (or 0) + int8 codes times weights [output][block][inputs / 4][4], with scales and zero
   points [output][block]. */
static void product_rows_int8(const int8_t *codes, const float *scales, const int32_t *sums, const int8_t *weights,
                              const float *weight_scales, const int8_t *zero_points, const float *bias, float *y,
                              int inputs, int block, int outputs) {
    for (int n = 0; n < outputs; n++) {
        const int8_t *block_codes = codes;
        float total = bias ? bias[n] : 0.0f;
        for (int first = 0, b = 0; first < inputs; first += block, b++) {
            int padded = ((inputs - first < block ? inputs - first : block) + 3) / 4 * 4;
            int32_t dot = 0;
            for (int k = 0; k < padded; k++) {
                dot += block_codes[k] * weights[k];
            }
            float scale = scales[b] * *weight_scales++;
            float part = scale * (float)(dot - *zero_points++ * sums[b]);
            total = total + part;
            block_codes += (block + 7) / 8 * 8;
            weights += padded;
        }
        y[n] = total;
    }
}
