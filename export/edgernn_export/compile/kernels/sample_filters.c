/* The next token from logits [count] and noise in (0, 1], from the most probable down, among those that top-k and
   top-p keep; keys and heap are those of rank_tokens, tokens and ranked are [count]. */
static void sample_filters(const float *logits, const float *noise, const float *temperature, const int64_t *top_k,
                           const float *top_p, int32_t *keys, int64_t *heap, int32_t *tokens, float *ranked,
                           float *cumulative, int64_t *token, int count) {
    const float divisor = *temperature > 0x1p-100f ? *temperature : 0x1p-100f;
    const int size = *top_k < 1 ? 1 : *top_k < count ? (int)*top_k : count;
    rank_tokens(logits, keys, heap, count);
    for (int rank = 0; rank < size; ++rank) {
        tokens[rank] = take_token(keys, heap, TOKEN_GROUPS(count));
        ranked[rank] = logits[tokens[rank]] / divisor;
    }
    softmax(ranked, ranked, 1, size);
    cumulative_sum(ranked, ranked, 1, size);
    *cumulative = ranked[first_reaching_f32(ranked, size, ranked[size - 1] * *top_p)];
    *token = tokens[first_reaching_f32(ranked, size, *cumulative * *noise)];
}
