EXPORTED int32_t edgernn_choose(const edgernn_call *call, int64_t token, float uniform);
EXPORTED uint32_t edgernn_stream_bytes(void);
EXPORTED void edgernn_begin(void *stream, uint32_t seed_low, uint32_t seed_high, float temperature, int32_t top_k,
                            float top_p, float repetition_penalty);
EXPORTED int32_t edgernn_prefill(void *stream, const int32_t *tokens, int32_t count);
EXPORTED int32_t edgernn_next(void *stream);

int32_t edgernn_choose(const edgernn_call *call, int64_t token, float uniform) {
    model_set_token(call, token);
    if (!model_accepts_row(call, 0)) {
        return -1;
    }
    model_run_row(call, 0);
    const float *logits = (const float *)call->outputs[MODEL_LOGITS];
    const int32_t chosen = draw_token(logits, call->temperature, call->top_k, call->top_p, call->ranked, uniform);
    return chosen < 0 ? -2 : chosen;
}

uint32_t edgernn_stream_bytes(void) {
    return (uint32_t)sizeof(model_stream);
}

void edgernn_begin(void *stream, uint32_t seed_low, uint32_t seed_high, float temperature, int32_t top_k, float top_p,
                   float repetition_penalty) {
    model_sampler sampler;
    sampler.temperature = temperature;
    sampler.top_k = top_k;
    sampler.top_p = top_p;
    sampler.repetition_penalty = repetition_penalty;
    model_begin((model_stream *)stream, (uint64_t)seed_high << 32 | seed_low, sampler);
}

int32_t edgernn_prefill(void *stream, const int32_t *tokens, int32_t count) {
    return model_prefill((model_stream *)stream, tokens, (size_t)count);
}

int32_t edgernn_next(void *stream) {
    return model_next((model_stream *)stream);
}
