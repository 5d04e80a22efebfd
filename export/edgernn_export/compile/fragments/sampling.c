/* What is added to a uniform in [0, 1) so that it lies in (0, 1]. */
#define GRAIN 5.9604644775390625e-8

/* The first of count cumulative sums that reaches what is wanted, or the last one. */
static int first_reaching(const double *reached, int count, double wanted) {
    int before = 0;
    for (int i = 0; i < count; ++i) {
        before += reached[i] < wanted;
    }
    return before < count ? before : count - 1;
}

/* A token drawn in the order of the vocabulary. */
static int32_t choose_in_order(const float *weights, double share) {
    double reached[MODEL_VOCABULARY], total = 0.0;
    for (int token = 0; token < MODEL_VOCABULARY; ++token) {
        total += (double)weights[token];
        reached[token] = total;
    }
    return first_reaching(reached, MODEL_VOCABULARY, share * total);
}

/* A token drawn from the most probable down, among those that top-k and top-p keep; ranks no more than it needs. */
static int32_t choose_ranked(const float *logits, const float *weights, int32_t top_k, float top_p, double share) {
    enum { GROUPS = TOKEN_GROUPS(MODEL_VOCABULARY) };
    int32_t keys[GROUPS * GROUP_TOKENS], tokens[MODEL_VOCABULARY];
    int64_t heap[GROUPS];
    double reached[MODEL_VOCABULARY], sum = 0.0, total = 0.0, enough = INFINITY;
    const int limit = top_k > 0 && top_k < MODEL_VOCABULARY ? top_k : MODEL_VOCABULARY;
    int kept = 0;
    if (limit == MODEL_VOCABULARY) {
        for (int token = 0; token < MODEL_VOCABULARY; ++token) {
            total += (double)weights[token];
        }
        enough = total * (top_p < 1.0f ? (double)top_p : share);
    }
    rank_tokens(logits, keys, heap, MODEL_VOCABULARY);
    while (kept < limit && sum < enough) {
        tokens[kept] = take_token(keys, heap, GROUPS);
        sum += (double)weights[tokens[kept]];
        reached[kept++] = sum;
    }
    if (limit < MODEL_VOCABULARY) {
        total = sum;
    }
    if (top_p < 1.0f) {
        kept = first_reaching(reached, kept, (double)top_p * total) + 1;
        total = reached[kept - 1];
    }
    return tokens[first_reaching(reached, kept, share * total)];
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
        return choose_ranked(logits, weights, top_k, top_p, (double)uniform + GRAIN);
    }
    return choose_in_order(weights, (double)uniform + GRAIN);
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
