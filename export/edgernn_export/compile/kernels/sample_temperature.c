/* The next token from logits [count] and noise in (0, 1], in the order of the vocabulary; cumulative is [count]. */
static void sample_temperature(const float *logits, const float *noise, const float *temperature, float *cumulative,
                               int64_t *token, int count) {
    const float divisor = *temperature > 0x1p-100f ? *temperature : 0x1p-100f;
    for (int i = 0; i < count; ++i) {
        cumulative[i] = logits[i] / divisor;
    }
    softmax(cumulative, cumulative, 1, count);
    cumulative_sum(cumulative, cumulative, 1, count);
    *token = first_reaching_f32(cumulative, count, *noise);
}
