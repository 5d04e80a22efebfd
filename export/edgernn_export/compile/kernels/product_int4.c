#if defined(__AVX512VNNI__)
#include <immintrin.h>
#define COLUMNS_INT4 64
#define LANES_INT4 16
typedef struct dots_int4 {
    __m512i low, high;
} dots_int4;
typedef dots_int4 group_int4;

/* The next 8 codes, 4 and 4, in every lane. */
static inline group_int4 spread_int4(const int8_t *codes) {
    int32_t low, high;
    memcpy(&low, codes, 4);
    memcpy(&high, codes + 4, 4);
    return (group_int4){_mm512_set1_epi32(low), _mm512_set1_epi32(high)};
}

/* sum [LANES] plus weights [LANES][4] times 8 codes; the high sum is 16 times too large. */
static inline dots_int4 dot_int4(dots_int4 sum, group_int4 codes, const uint8_t *weights) {
    __m512i both = _mm512_loadu_si512(weights);
    sum.low = _mm512_dpbusd_epi32(sum.low, _mm512_and_si512(both, _mm512_set1_epi8(0x0F)), codes.low);
    sum.high = _mm512_dpbusd_epi32(sum.high, _mm512_and_si512(both, _mm512_set1_epi8(-0x10)), codes.high);
    return sum;
}

static inline void store_int4(int32_t *dots, dots_int4 sum) {
    _mm512_storeu_si512(dots, _mm512_add_epi32(sum.low, _mm512_srai_epi32(sum.high, 4)));
}
#elif defined(__AVX2__)
#include <immintrin.h>
#define COLUMNS_INT4 64
#define LANES_INT4 8
typedef __m256i dots_int4;
typedef struct group_int4 {
    __m256i low, high;
} group_int4;

/* The next 8 codes, 4 and 4, in every lane. */
static inline group_int4 spread_int4(const int8_t *codes) {
    int32_t halves[2];
    memcpy(halves, codes, 8);
    return (group_int4){_mm256_set1_epi32(halves[0]), _mm256_set1_epi32(halves[1])};
}

/* sum [LANES] plus weights [LANES][4] times 8 codes; four products of 15 and 128 fit in 16 bits. */
static inline dots_int4 dot_int4(dots_int4 sum, group_int4 codes, const uint8_t *weights) {
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i both = _mm256_loadu_si256((const __m256i *)weights);
    __m256i low = _mm256_and_si256(both, mask);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
#ifdef __AVXVNNI__
    return _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(sum, low, codes.low), high, codes.high);
#else
    __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(low, codes.low), _mm256_maddubs_epi16(high, codes.high));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

static inline void store_int4(int32_t *dots, dots_int4 sum) {
    _mm256_storeu_si256((__m256i *)dots, sum);
}
#elif defined(__SSE2__)
#include <emmintrin.h>
#define COLUMNS_INT4 16
#define LANES_INT4 2
typedef __m128i dots_int4;
typedef struct group_int4 {
    __m128i low, high;
} group_int4;

/* The next 8 codes, 4 and 4, in 16 bits each, for every output. */
static inline group_int4 spread_int4(const int8_t *codes) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)codes);
    __m128i wide = _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
    return (group_int4){_mm_unpacklo_epi64(wide, wide), _mm_unpackhi_epi64(wide, wide)};
}

/* sum, in two parts for every output, plus weights [LANES][4] times 8 codes. */
static inline dots_int4 dot_int4(dots_int4 sum, group_int4 codes, const uint8_t *weights) {
    __m128i wide = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)weights), _mm_setzero_si128());
    sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_and_si128(wide, _mm_set1_epi16(15)), codes.low));
    return _mm_add_epi32(sum, _mm_madd_epi16(_mm_srli_epi16(wide, 4), codes.high));
}

static inline void store_int4(int32_t *dots, dots_int4 sum) {
    __m128i both = _mm_add_epi32(sum, _mm_srli_epi64(sum, 32));
    _mm_storel_epi64((__m128i *)dots, _mm_shuffle_epi32(both, 8));
}
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#define COLUMNS_INT4 64
#define LANES_INT4 4
typedef int32x4_t dots_int4;
typedef int8x16x2_t group_int4;

/* The next 8 codes, 4 and 4, in every lane. */
static inline group_int4 spread_int4(const int8_t *codes) {
    int32_t halves[2];
    memcpy(halves, codes, 8);
    return (group_int4){{vreinterpretq_s8_s32(vdupq_n_s32(halves[0])), vreinterpretq_s8_s32(vdupq_n_s32(halves[1]))}};
}

/* sum [LANES] plus weights [LANES][4] times 8 codes. */
static inline dots_int4 dot_int4(dots_int4 sum, group_int4 codes, const uint8_t *weights) {
    uint8x16_t both = vld1q_u8(weights);
    sum = vdotq_s32(sum, vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15))), codes.val[0]);
    return vdotq_s32(sum, vreinterpretq_s8_u8(vshrq_n_u8(both, 4)), codes.val[1]);
}

static inline void store_int4(int32_t *dots, dots_int4 sum) {
    vst1q_s32(dots, sum);
}
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#define COLUMNS_INT4 16
#define LANES_INT4 2
typedef int32x4_t dots_int4;
typedef int8x8x2_t group_int4;

/* The next 8 codes, 4 and 4, for every output. */
static inline group_int4 spread_int4(const int8_t *codes) {
    int32_t halves[2];
    memcpy(halves, codes, 8);
    return (group_int4){{vreinterpret_s8_s32(vdup_n_s32(halves[0])), vreinterpret_s8_s32(vdup_n_s32(halves[1]))}};
}

/* sum, in two parts for every output, plus weights [LANES][4] times 8 codes; two products of 15 and 128 fit in 16
   bits. */
static inline dots_int4 dot_int4(dots_int4 sum, group_int4 codes, const uint8_t *weights) {
    uint8x8_t both = vld1_u8(weights);
    int16x8_t pairs = vmull_s8(vreinterpret_s8_u8(vand_u8(both, vdup_n_u8(15))), codes.val[0]);
    return vpadalq_s16(sum, vmlal_s8(pairs, vreinterpret_s8_u8(vshr_n_u8(both, 4)), codes.val[1]));
}

static inline void store_int4(int32_t *dots, dots_int4 sum) {
    vst1_s32(dots, vpadd_s32(vget_low_s32(sum), vget_high_s32(sum)));
}
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#define COLUMNS_INT4 16
#define LANES_INT4 2
typedef v128_t dots_int4;
typedef struct group_int4 {
    v128_t low, high;
} group_int4;

/* The next 8 codes, 4 and 4, in 16 bits each, for every output. */
static inline group_int4 spread_int4(const int8_t *codes) {
    return (group_int4){wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(codes)),
                        wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(codes + 4))};
}

/* sum, in two parts for every output, plus weights [LANES][4] times 8 codes. */
static inline dots_int4 dot_int4(dots_int4 sum, group_int4 codes, const uint8_t *weights) {
    v128_t wide = wasm_u16x8_load8x8(weights);
    v128_t low = wasm_i32x4_dot_i16x8(wasm_v128_and(wide, wasm_i16x8_splat(15)), codes.low);
    v128_t high = wasm_i32x4_dot_i16x8(wasm_u16x8_shr(wide, 4), codes.high);
    return wasm_i32x4_add(sum, wasm_i32x4_add(low, high));
}

static inline void store_int4(int32_t *dots, dots_int4 sum) {
    dots[0] = wasm_i32x4_extract_lane(sum, 0) + wasm_i32x4_extract_lane(sum, 1);
    dots[1] = wasm_i32x4_extract_lane(sum, 2) + wasm_i32x4_extract_lane(sum, 3);
}
#elif defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#define COLUMNS_INT4 4
#define LANES_INT4 1
typedef int32_t dots_int4;
typedef struct group_int4 {
    int16x2_t even_low, odd_low, even_high, odd_high;
} group_int4;

/* The next 8 codes, in four pairs of 16 bits. */
static inline group_int4 spread_int4(const int8_t *codes) {
    uint32_t low, high;
    memcpy(&low, codes, 4);
    memcpy(&high, codes + 4, 4);
    return (group_int4){__sxtb16(low), __sxtb16(low >> 8), __sxtb16(high), __sxtb16(high >> 8)};
}

/* sum plus 8 weights times 8 codes. */
static inline dots_int4 dot_int4(dots_int4 sum, group_int4 codes, const uint8_t *weights) {
    uint32_t both;
    memcpy(&both, weights, 4);
    sum = __smlad((int16x2_t)(both & 0x000F000F), codes.even_low, sum);
    sum = __smlad((int16x2_t)(both >> 8 & 0x000F000F), codes.odd_low, sum);
    sum = __smlad((int16x2_t)(both >> 4 & 0x000F000F), codes.even_high, sum);
    return __smlad((int16x2_t)(both >> 12 & 0x000F000F), codes.odd_high, sum);
}

static inline void store_int4(int32_t *dots, dots_int4 sum) {
    *dots = sum;
}
#else
#define COLUMNS_INT4 8
#define LANES_INT4 1
typedef int32_t dots_int4;
typedef const int8_t *group_int4;

static inline group_int4 spread_int4(const int8_t *codes) {
    return codes;
}

/* sum plus 8 weights times 8 codes. */
static inline dots_int4 dot_int4(dots_int4 sum, group_int4 codes, const uint8_t *weights) {
    for (int i = 0; i < 4; i++) {
        sum += codes[i] * (weights[i] & 15);
        sum += codes[4 + i] * (weights[i] >> 4);
    }
    return sum;
}

static inline void store_int4(int32_t *dots, dots_int4 sum) {
    *dots = sum;
}
#endif

/* dots [columns] = codes [groups][8] times weights [groups][width][4], of which the first columns. */
static inline __attribute__((always_inline)) void dot_columns_int4(const int8_t *codes, const uint8_t *weights,
                                                                   int32_t *dots, int groups, int width, int columns) {
    dots_int4 sums[COLUMNS_INT4 / LANES_INT4];
    for (int n = 0; n < columns / LANES_INT4; n++) {
        sums[n] = (dots_int4){0};
    }
    for (int k = 0; k < groups; k++, weights += 4 * width) {
        group_int4 group = spread_int4(codes + 8 * k);
#if defined(__x86_64__) || defined(__aarch64__)
        for (int byte = 0; byte < 4 * columns; byte += 64) {
            __builtin_prefetch((const void *)((uintptr_t)weights + (uintptr_t)byte + 1024));
        }
#endif
        for (int n = 0; n < columns / LANES_INT4; n++) {
            sums[n] = dot_int4(sums[n], group, weights + 4 * LANES_INT4 * n);
        }
    }
    for (int n = 0; n < columns / LANES_INT4; n++) {
        store_int4(dots + LANES_INT4 * n, sums[n]);
    }
}

/* totals [16] plus the dots of a block [16] with its scale and sum, and 16 scales and zero points of the weights. */
static inline void add_dots_int4(const int32_t *dots, float scale, int32_t sum, const float *weight_scales,
                                 const uint8_t *zero_points, float *restrict totals) {
    for (int n = 0; n < 16; n++) {
        float both = scale * weight_scales[n];
        float part = both * (float)(dots[n] - zero_points[n] * sum);
        totals[n] = totals[n] + part;
    }
}

/* y [outputs] = bias [outputs] (or 0) + int8 codes times weights of 4 bits [tile][block][inputs / 8][width][4], with
   scales and zero points [tile][block][width]. */
static void product_int4(const int8_t *codes, const float *scales, const int32_t *sums, const uint8_t *weights,
                         const float *weight_scales, const uint8_t *zero_points, const float *bias, float *y,
                         int inputs, int block, int outputs) {
    int room = (block + 7) / 8 * 8;
    for (int start = 0; start < outputs; start += 64) {
        int used = outputs - start < 64 ? outputs - start : 64;
        int width = (used + 15) / 16 * 16;
        float totals[64] = {0};
        if (bias) {
            memcpy(totals, bias + start, (size_t)used * sizeof(float));
        }
        for (int first = 0, b = 0; first < inputs; first += block, b++) {
            int groups = ((inputs - first < block ? inputs - first : block) + 7) / 8;
            int32_t dots[64];
            int column = 0;
            for (; column + COLUMNS_INT4 <= width; column += COLUMNS_INT4) {
                dot_columns_int4(codes + b * room, weights + 4 * column, dots + column, groups, width, COLUMNS_INT4);
            }
            for (; COLUMNS_INT4 > 16 && column < width; column += 16) {
                dot_columns_int4(codes + b * room, weights + 4 * column, dots + column, groups, width, 16);
            }
            for (int from = 0; from < width; from += 16) {
                add_dots_int4(dots + from, scales[b], sums[b], weight_scales + from, zero_points + from, totals + from);
            }
            weights += 4 * groups * width;
            weight_scales += width;
            zero_points += width;
        }
        memcpy(y + start, totals, (size_t)used * sizeof(float));
    }
}
