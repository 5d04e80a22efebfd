/* exp(x) of one float from -90 to 90, NaN of NaN. */
static inline float exp_inside_f32(float x) {
    float shifted = x * 1.44269504f;
    shifted = shifted + 12582912.0f;
    float whole = shifted - 12582912.0f;
    float high = whole * 0.693359375f;
    float low = whole * -2.12194440e-4f;
    float rest = x - high;
    rest = rest - low;

    float series = rest * 1.38146e-3f;
    series = series + 8.36872e-3f;
    series = series * rest;
    series = series + 4.166839e-2f;
    series = series * rest;
    series = series + 0.16666521f;
    series = series * rest;
    series = series + 0.49999993f;
    float square = rest * rest;
    series = series * square;
    series = series + rest;
    series = series + 1.0f;

    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    int32_t power = (int32_t)(bits - 0x4B400000u);
    int32_t half = power >> 1;
    uint32_t first_bits = (uint32_t)(half + 127) << 23;
    uint32_t second_bits = power < -125 ? 0 : (uint32_t)(power - half + 127) << 23;
    float first, second;
    memcpy(&first, &first_bits, 4);
    memcpy(&second, &second_bits, 4);
    series = series * first;
    series = series * second;
    return series;
}

/* exp(x) of one float, relative error below 8.2e-8: 0 below -86.99, infinity above 88.72283, NaN of NaN. */
static inline float exp_f32(float x) {
    float inside = fabsf(x) > 90.0f ? copysignf(90.0f, x) : x;
    return exp_inside_f32(inside);
}

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

/* 1 / (1 + exp(-x)) of one float, absolute error below 9e-8, never outside 0 to 1, NaN of NaN. */
static inline float sigmoid_f32(float x) {
    float inside = fabsf(x) > 87.3f ? copysignf(87.3f, x) : x;
    float value = exp_inside_f32(-inside);
    value = value + 1.0f;
    return 1.0f / value;
}
