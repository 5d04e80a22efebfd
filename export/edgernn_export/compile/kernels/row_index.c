/* An index into size rows: negative ones count from the end, and those out of range are cut to it. */
static inline int64_t row_index(int64_t index, int size) {
    const int64_t at = index < 0 ? index + size : index;
    return at < 0 ? 0 : at < size ? at : size - 1;
}
