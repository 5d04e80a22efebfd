/* Tokens from the most probable one down, as many as are asked for: the best of each group waits in a heap. */
#define GROUP_TOKENS 16
#define TOKEN_GROUPS(count) (((count) + GROUP_TOKENS - 1) / GROUP_TOKENS)

/* Let the entry at the root of a heap of count entries sink to its place. */
static void sink(int64_t *heap, int count, int root) {
    const int64_t entry = heap[root];
    for (int child = 2 * root + 1; child < count; child = 2 * root + 1) {
        child += child + 1 < count && heap[child + 1] > heap[child];
        if (heap[child] <= entry) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = entry;
}

/* The largest key of a group and, below it, which group this is: among equal keys, lower tokens come first. */
static inline int64_t best_of_group(const int32_t *keys, int groups, int group) {
    const int32_t *own = keys + group * GROUP_TOKENS;
    int32_t largest = own[0];
    for (int i = 1; i < GROUP_TOKENS; ++i) {
        largest = own[i] > largest ? own[i] : largest;
    }
    return (int64_t)largest * 4294967296 + (groups - 1 - group);
}

/* Prepare to take tokens by their logits; keys is [groups * GROUP_TOKENS], heap [groups]. */
static void rank_tokens(const float *logits, int32_t *keys, int64_t *heap, int count) {
    const int groups = TOKEN_GROUPS(count);
    for (int token = 0; token < count; ++token) {
        keys[token] = ordered_bits(logits[token]);
    }
    for (int token = count; token < groups * GROUP_TOKENS; ++token) {
        keys[token] = INT32_MIN;
    }
    for (int group = 0; group < groups; ++group) {
        heap[group] = best_of_group(keys, groups, group);
    }
    for (int root = groups / 2 - 1; root >= 0; --root) {
        sink(heap, groups, root);
    }
}

/* Take the most probable of the tokens that are left; at most as many times as there are tokens. */
static int32_t take_token(int32_t *keys, int64_t *heap, int groups) {
    const int group = groups - 1 - (int)(heap[0] & 0xFFFFFFFF);
    int32_t *own = keys + group * GROUP_TOKENS;
    const int32_t largest = (int32_t)(heap[0] >> 32);
    int place = 0;
    while (own[place] != largest) {
        ++place;
    }
    own[place] = INT32_MIN;
    heap[0] = best_of_group(keys, groups, group);
    sink(heap, groups, 0);
    return group * GROUP_TOKENS + place;
}
