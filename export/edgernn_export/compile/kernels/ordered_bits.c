/* The bits of a float as an integer that is ordered as floats are; the same for both zeros. */
static inline int32_t ordered_bits(float x) {
    int32_t bits;
    const float number = x + 0.0f;
    memcpy(&bits, &number, 4);
    return bits < 0 ? bits ^ 0x7FFFFFFF : bits;
}
