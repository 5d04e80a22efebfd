/* tanh(x) of one float, relative error below 3.5e-7, never outside -1 to 1, odd, NaN of NaN. */
static inline float tanh_f32(float x) {
    float size = fabsf(x);
    int32_t bits;
    memcpy(&bits, &size, 4);
    bits = bits < 0x411051EC ? bits : 0x411051EC;
    memcpy(&size, &bits, 4);
    float inside = copysignf(size, x);
    float square = inside * inside;
    float above = square * 1.3384529e-8f;
    above = above + 2.0635802e-5f;
    above = above * square;
    above = above + 3.4974592e-3f;
    above = above * square;
    above = above + 1.3382669e-1f;
    above = above * square;
    above = above + 1.0f;
    above = above * inside;
    float below = square * 7.79026e-7f;
    below = below + 3.2885186e-4f;
    below = below * square;
    below = below + 2.588434e-2f;
    below = below * square;
    below = below + 4.6715975e-1f;
    below = below * square;
    below = below + 1.0f;
    above = fabsf(above) > below ? copysignf(below, above) : above;
    below = x == x ? below : x;
    return above / below;
}
