/* The sum of codes [groups][8] times weights [groups][4] of 4 bits. */
static inline int32_t dot_rows_int4(const int8_t *codes, const uint8_t *weights, int groups) {
    int32_t dot = 0;
    for (int start = 0; start < groups; start += 16) {
        int count = groups - start < 16 ? groups - start : 16;
        int8_t values[128];
        for (int k = 0; k < count; k++) {
            uint32_t both;
            memcpy(&both, weights + 4 * (start + k), 4);
            uint32_t low = both & 0x0F0F0F0Fu, high = both >> 4 & 0x0F0F0F0Fu;
            memcpy(values + 8 * k, &low, 4);
            memcpy(values + 8 * k + 4, &high, 4);
        }
        for (int i = 0; i < 8 * count; i++) {
            dot += codes[8 * start + i] * values[i];
        }
    }
    return dot;
}

/* y [outputs] = bias [outputs] (or 0) + int8 codes times weights of 4 bits [output][block][inputs / 8][4], with scales
   and zero points [output][block]. */
static void product_rows_int4(const int8_t *codes, const float *scales, const int32_t *sums, const uint8_t *weights,
                              const float *weight_scales, const uint8_t *zero_points, const float *bias, float *y,
                              int inputs, int block, int outputs) {
    int room = (block + 7) / 8 * 8;
    for (int n = 0; n < outputs; n++) {
        float total = bias ? bias[n] : 0.0f;
        for (int first = 0, b = 0; first < inputs; first += block, b++) {
            int groups = ((inputs - first < block ? inputs - first : block) + 7) / 8;
            int32_t dot = dot_rows_int4(codes + b * room, weights, groups);
            float scale = scales[b] * *weight_scales++;
            float part = scale * (float)(dot - *zero_points++ * sums[b]);
            total = total + part;
            weights += 4 * groups;
        }
        y[n] = total;
    }
}
