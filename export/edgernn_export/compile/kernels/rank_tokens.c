/* Whether token a comes before token b when tokens are ranked by logit, lower tokens first among equal ones. */
static int ranks_before(const float *logits, int32_t a, int32_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* Let the token at the root of a heap of count tokens sink to its place. */
static void sink(const float *logits, int32_t *heap, int count, int root) {
    for (int child = 2 * root + 1; child < count; child = 2 * root + 1) {
        if (child + 1 < count && ranks_before(logits, heap[child + 1], heap[child])) {
            ++child;
        }
        if (!ranks_before(logits, heap[child], heap[root])) {
            return;
        }
        const int32_t token = heap[root];
        heap[root] = heap[child];
        heap[child] = token;
        root = child;
    }
}

/* Write the first limit of count tokens by rank to the end of order [count], the first one last. */
static void rank_tokens(const float *logits, int32_t *order, int count, int limit) {
    for (int token = 0; token < count; ++token) {
        order[token] = token;
    }
    for (int root = count / 2 - 1; root >= 0; --root) {
        sink(logits, order, count, root);
    }
    for (int rank = 0; rank < limit; ++rank) {
        const int last = count - 1 - rank;
        const int32_t token = order[0];
        order[0] = order[last];
        sink(logits, order, last, 0);
        order[last] = token;
    }
}
