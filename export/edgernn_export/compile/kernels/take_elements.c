/* One element of [outer][size][inner] for each of the indices [outer][count][inner], along the middle axis. */
static void take_elements(const void *values, const int64_t *indices, void *y, int outer, int size, int inner,
                          int count, int bytes) {
    for (int row = 0; row < outer; ++row) {
        for (int i = 0; i < count * inner; ++i) {
            const size_t target = (size_t)row * (size_t)count * (size_t)inner + (size_t)i;
            const size_t at = (size_t)row_index(indices[target], size);
            const size_t source = ((size_t)row * (size_t)size + at) * (size_t)inner + (size_t)(i % inner);
            memcpy((char *)y + target * (size_t)bytes, (const char *)values + source * (size_t)bytes, (size_t)bytes);
        }
    }
}
