/* Take one step with a token, and remember it. */
static int feed(model_stream *stream, int32_t token, float logits[MODEL_VOCABULARY]) {
    if (model_stream_step(stream, token, logits) != 0) {
        return -1;
    }
    stream->recent[stream->step % MODEL_REMEMBERED] = token;
    stream->remembered += stream->remembered < MODEL_REMEMBERED;
    ++stream->step;
    return 0;
}

void model_begin(model_stream *stream, uint64_t seed, model_sampler sampler) {
    memset(stream, 0, sizeof *stream);
    model_reset(&stream->state);
    stream->sampler = sampler;
    stream->seed = seed;
    stream->pending = -1;
}

int model_prefill(model_stream *stream, const int32_t *tokens, size_t count) {
    float logits[MODEL_VOCABULARY];
    for (size_t i = 0; i < count; ++i) {
        if (tokens[i] < 0 || tokens[i] >= MODEL_VOCABULARY) {
            return -1;
        }
    }
    const int32_t pending = stream->pending;
    const uint64_t step = stream->step;
    for (size_t i = 0; i < count; ++i) {
        if (stream->pending >= 0 && feed(stream, stream->pending, logits) != 0) {
            if (stream->step == step) {
                stream->pending = pending;
            }
            return -1;
        }
        stream->pending = tokens[i];
    }
    return 0;
}

int32_t model_next(model_stream *stream) {
    float logits[MODEL_VOCABULARY];
    const int32_t token = stream->pending < 0 && stream->step == 0 ? MODEL_FIRST : stream->pending;
    if (token < 0) {
        return -1;
    }
    const float uniform = model_uniform(stream->seed, stream->step, 0);
    if (feed(stream, token, logits) != 0) {
        return -1;
    }
    stream->pending = model_choose(logits, &stream->sampler, uniform, stream->recent, stream->remembered);
    return stream->pending;
}
