/* exp(x) of one float, relative error below 8.2e-8: 0 below -86.99, infinity above 88.72283, NaN of NaN. */
static inline float exp_f32(float x) {
    float inside = fabsf(x) > 90.0f ? copysignf(90.0f, x) : x;
    return exp_inside_f32(inside);
}
