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
