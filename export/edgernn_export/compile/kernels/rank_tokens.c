/* Let the key at the root of a heap of count keys sink to its place. */
static void sink(int64_t *heap, int count, int root) {
    const int64_t key = heap[root];
    for (int child = 2 * root + 1; child < count; child = 2 * root + 1) {
        child += child + 1 < count && heap[child + 1] > heap[child];
        if (heap[child] <= key) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = key;
}

/* Write keys of the first limit of count tokens to the end of keys [count], the most probable last; among equal logits
   the lower token comes first. */
static void rank_tokens(const float *logits, int64_t *keys, int count, int limit) {
    for (int token = 0; token < count; ++token) {
        keys[token] = (int64_t)ordered_bits(logits[token]) * 4294967296 + (count - 1 - token);
    }
    for (int root = count / 2 - 1; root >= 0; --root) {
        sink(keys, count, root);
    }
    for (int rank = 0; rank < limit; ++rank) {
        const int last = count - 1 - rank;
        const int64_t key = keys[0];
        keys[0] = keys[last];
        sink(keys, last, 0);
        keys[last] = key;
    }
}

/* The token of a rank, 0 for the most probable. */
static inline int32_t token_of_rank(const int64_t *keys, int count, int rank) {
    return count - 1 - (int32_t)(keys[count - 1 - rank] & 0xFFFFFFFF);
}
