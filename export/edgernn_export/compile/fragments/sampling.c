/* What is added to a uniform in [0, 1) so that it lies in (0, 1]. */
#define GRAIN 5.9604644775390625e-8

/* The first of count weights at which their sum reaches a share of the total. */
static int first_reaching(const float *weights, int count, double share) {
    double reached[MODEL_VOCABULARY], total = 0.0;
    for (int i = 0; i < count; ++i) {
        total += (double)weights[i];
        reached[i] = total;
    }
    const double wanted = share * total;
    int before = 0;
    for (int i = 0; i < count; ++i) {
        before += reached[i] < wanted;
    }
    return before < count ? before : count - 1;
}

/* A token drawn from the most probable down, among those that top-k and top-p keep. */
static int32_t choose_ranked(const float *logits, const float *weights, int32_t top_k, float top_p, double uniform) {
    int64_t keys[MODEL_VOCABULARY];
    float sorted[MODEL_VOCABULARY];
    const int limit = top_k > 0 && top_k < MODEL_VOCABULARY ? top_k : MODEL_VOCABULARY;
    rank_tokens(logits, keys, MODEL_VOCABULARY, limit);
    for (int rank = 0; rank < limit; ++rank) {
        sorted[rank] = weights[token_of_rank(keys, MODEL_VOCABULARY, rank)];
    }
    const int kept = top_p < 1.0f ? first_reaching(sorted, limit, (double)top_p) + 1 : limit;
    return token_of_rank(keys, MODEL_VOCABULARY, first_reaching(sorted, kept, uniform + GRAIN));
}

/* A token drawn from logits, none of them NaN, the largest finite; ranked: from the most probable down. -1 if not. */
static int32_t draw_token(const float *logits, float temperature, int32_t top_k, float top_p, int ranked,
                          float uniform) {
    float weights[MODEL_VOCABULARY];
    int32_t most = INT32_MIN, broken = temperature < 0.0f || temperature != temperature, best = 0;
    for (int32_t token = 0; token < MODEL_VOCABULARY; ++token) {
        const int32_t bits = ordered_bits(logits[token]);
        broken |= logits[token] != logits[token];
        most = bits > most ? bits : most;
    }
    if (broken) {
        return -1;
    }
    while (ordered_bits(logits[best]) != most) {
        ++best;
    }
    const float largest = logits[best];
    if (largest - largest != 0.0f) {
        return -1;
    }
    if (temperature == 0.0f) {
        return best;
    }
    for (int token = 0; token < MODEL_VOCABULARY; ++token) {
        const float distance = logits[token] - largest;
        weights[token] = exp_f32(distance / temperature);
    }
    if (ranked || top_k > 0 || top_p < 1.0f) {
        return choose_ranked(logits, weights, top_k, top_p, (double)uniform);
    }
    return first_reaching(weights, MODEL_VOCABULARY, (double)uniform + GRAIN);
}

int32_t model_choose(const float logits[MODEL_VOCABULARY], const model_sampler *sampler, float uniform,
                     const int32_t *recent, uint32_t remembered) {
    const float penalty = sampler->repetition_penalty > 0.0f ? sampler->repetition_penalty : 1.0f;
    const float top_p = sampler->top_p > 0.0f ? sampler->top_p : 1.0f;
    float adjusted[MODEL_VOCABULARY];
    memcpy(adjusted, logits, sizeof adjusted);
    if (penalty != 1.0f) {
        for (uint32_t i = 0; i < remembered; ++i) {
            const float logit = logits[recent[i]];
            adjusted[recent[i]] = logit > 0.0f ? logit / penalty : logit * penalty;
        }
    }
    return draw_token(adjusted, sampler->temperature, sampler->top_k, top_p, 0, uniform);
}
