/* Round x [inputs] to int8 codes [blocks][block rounded up to 8], with a scale and the sum of the codes per block. */
static void quantize_blocks(const float *x, int8_t *codes, float *scales, int32_t *sums, int inputs, int block) {
    int room = (block + 7) / 8 * 8;
    for (int start = 0; start < inputs; start += block, codes += room) {
        int used = inputs - start < block ? inputs - start : block;
        uint32_t largest_bits = 0;
        for (int k = 0; k < used; k++) {
            uint32_t bits;
            memcpy(&bits, &x[start + k], 4);
            bits = bits & 0x7FFFFFFFu;
            largest_bits = bits > largest_bits ? bits : largest_bits;
        }
        float largest;
        memcpy(&largest, &largest_bits, 4);
        float scale = largest / 127.0f;
        float inverse = largest != 0.0f ? 127.0f / largest : 0.0f;
        int32_t sum = 0;
        for (int k = 0; k < used; k++) {
            float value = x[start + k] * inverse;
            value = value + 12582912.0f;
            uint32_t bits;
            memcpy(&bits, &value, 4);
            codes[k] = (int8_t)bits;
            sum += codes[k];
        }
        for (int k = used; k < room; k++) {
            codes[k] = 0;
        }
        *scales++ = scale;
        *sums++ = sum;
    }
}
