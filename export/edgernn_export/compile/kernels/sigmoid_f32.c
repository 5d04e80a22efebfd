/* 1 / (1 + exp(-x)) of one float, absolute error below 9e-8, never outside 0 to 1, NaN of NaN. */
static inline float sigmoid_f32(float x) {
    float inside = fabsf(x) > 87.3f ? copysignf(87.3f, x) : x;
    float value = exp_inside_f32(-inside);
    value = value + 1.0f;
    return 1.0f / value;
}
