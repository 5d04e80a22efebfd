/* The slices of an array [outer][size][bytes] at count indices: y is [outer][count][bytes]. */
static void take(const void *values, const int64_t *indices, void *y, int outer, int size, int bytes, int count) {
    for (int row = 0; row < outer; ++row) {
        for (int i = 0; i < count; ++i) {
            const int64_t at = row_index(indices[i], size);
            memcpy((char *)y + ((size_t)row * (size_t)count + (size_t)i) * (size_t)bytes,
                   (const char *)values + ((size_t)row * (size_t)size + (size_t)at) * (size_t)bytes, (size_t)bytes);
        }
    }
}
