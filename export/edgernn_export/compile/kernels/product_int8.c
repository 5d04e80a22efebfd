#if defined(__AVX512VNNI__)
#include <immintrin.h>
#define COLUMNS_INT8 64
#define LANES_INT8 16
#define OFFSET_INT8 128
typedef __m512i dots_int8;
typedef __m512i group_int8;

/* The next 4 codes, in every lane. */
static inline group_int8 spread_int8(const int8_t *codes) {
    int32_t group;
    memcpy(&group, codes, 4);
    return _mm512_set1_epi32(group);
}

/* sum [LANES] plus weights [LANES][4] times 4 codes, where 128 is added to each weight. */
static inline dots_int8 dot_int8(dots_int8 sum, group_int8 codes, const int8_t *weights) {
    __m512i shifted = _mm512_xor_si512(_mm512_loadu_si512(weights), _mm512_set1_epi8(-128));
    return _mm512_dpbusd_epi32(sum, shifted, codes);
}

static inline void store_int8(int32_t *dots, dots_int8 sum) {
    _mm512_storeu_si512(dots, sum);
}
#elif defined(__AVXVNNI__)
#include <immintrin.h>
#define COLUMNS_INT8 64
#define LANES_INT8 8
#define OFFSET_INT8 128
typedef __m256i dots_int8;
typedef __m256i group_int8;

/* The next 4 codes, in every lane. */
static inline group_int8 spread_int8(const int8_t *codes) {
    int32_t group;
    memcpy(&group, codes, 4);
    return _mm256_set1_epi32(group);
}

/* sum [LANES] plus weights [LANES][4] times 4 codes, where 128 is added to each weight. */
static inline dots_int8 dot_int8(dots_int8 sum, group_int8 codes, const int8_t *weights) {
    __m256i shifted = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)weights), _mm256_set1_epi8(-128));
    return _mm256_dpbusd_avx_epi32(sum, shifted, codes);
}

static inline void store_int8(int32_t *dots, dots_int8 sum) {
    _mm256_storeu_si256((__m256i *)dots, sum);
}
#elif defined(__AVX2__)
#include <immintrin.h>
#define COLUMNS_INT8 64
#define LANES_INT8 8
#define OFFSET_INT8 128
typedef __m256i dots_int8;
typedef struct group_int8 {
    __m256i even, odd;
} group_int8;

/* The next 4 codes, in two pairs of 16 bits, in every lane. */
static inline group_int8 spread_int8(const int8_t *codes) {
    int32_t group;
    memcpy(&group, codes, 4);
    __m256i spread = _mm256_set1_epi32(group);
    return (group_int8){_mm256_srai_epi16(_mm256_slli_epi16(spread, 8), 8), _mm256_srai_epi16(spread, 8)};
}

/* sum [LANES] plus weights [LANES][4] times 4 codes, where 128 is added to each weight. */
static inline dots_int8 dot_int8(dots_int8 sum, group_int8 codes, const int8_t *weights) {
    __m256i shifted = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)weights), _mm256_set1_epi8(-128));
    __m256i even = _mm256_and_si256(shifted, _mm256_set1_epi16(255));
    __m256i odd = _mm256_srli_epi16(shifted, 8);
    __m256i both = _mm256_add_epi32(_mm256_madd_epi16(even, codes.even), _mm256_madd_epi16(odd, codes.odd));
    return _mm256_add_epi32(sum, both);
}

static inline void store_int8(int32_t *dots, dots_int8 sum) {
    _mm256_storeu_si256((__m256i *)dots, sum);
}
#elif defined(__SSE2__)
#include <emmintrin.h>
#define COLUMNS_INT8 32
#define LANES_INT8 4
#define OFFSET_INT8 128
typedef __m128i dots_int8;
typedef struct group_int8 {
    __m128i even, odd;
} group_int8;

/* The next 4 codes, in two pairs of 16 bits, in every lane. */
static inline group_int8 spread_int8(const int8_t *codes) {
    int32_t group;
    memcpy(&group, codes, 4);
    __m128i spread = _mm_set1_epi32(group);
    return (group_int8){_mm_srai_epi16(_mm_slli_epi16(spread, 8), 8), _mm_srai_epi16(spread, 8)};
}

/* sum [LANES] plus weights [LANES][4] times 4 codes, where 128 is added to each weight. */
static inline dots_int8 dot_int8(dots_int8 sum, group_int8 codes, const int8_t *weights) {
    __m128i shifted = _mm_xor_si128(_mm_loadu_si128((const __m128i *)weights), _mm_set1_epi8(-128));
    __m128i even = _mm_and_si128(shifted, _mm_set1_epi16(255));
    __m128i odd = _mm_srli_epi16(shifted, 8);
    __m128i both = _mm_add_epi32(_mm_madd_epi16(even, codes.even), _mm_madd_epi16(odd, codes.odd));
    return _mm_add_epi32(sum, both);
}

static inline void store_int8(int32_t *dots, dots_int8 sum) {
    _mm_storeu_si128((__m128i *)dots, sum);
}
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#define COLUMNS_INT8 64
#define LANES_INT8 4
#define OFFSET_INT8 0
typedef int32x4_t dots_int8;
typedef int8x16_t group_int8;

/* The next 4 codes, in every lane. */
static inline group_int8 spread_int8(const int8_t *codes) {
    int32_t group;
    memcpy(&group, codes, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(group));
}

/* sum [LANES] plus weights [LANES][4] times 4 codes. */
static inline dots_int8 dot_int8(dots_int8 sum, group_int8 codes, const int8_t *weights) {
    return vdotq_s32(sum, vld1q_s8(weights), codes);
}

static inline void store_int8(int32_t *dots, dots_int8 sum) {
    vst1q_s32(dots, sum);
}
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#define COLUMNS_INT8 16
#define LANES_INT8 2
#define OFFSET_INT8 0
typedef int32x4_t dots_int8;
typedef int8x8_t group_int8;

/* The next 4 codes, for every output. */
static inline group_int8 spread_int8(const int8_t *codes) {
    int32_t group;
    memcpy(&group, codes, 4);
    return vreinterpret_s8_s32(vdup_n_s32(group));
}

/* sum, in two parts for every output, plus weights [LANES][4] times 4 codes. */
static inline dots_int8 dot_int8(dots_int8 sum, group_int8 codes, const int8_t *weights) {
    return vpadalq_s16(sum, vmull_s8(vld1_s8(weights), codes));
}

static inline void store_int8(int32_t *dots, dots_int8 sum) {
    vst1_s32(dots, vpadd_s32(vget_low_s32(sum), vget_high_s32(sum)));
}
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#define COLUMNS_INT8 16
#define LANES_INT8 2
#define OFFSET_INT8 0
typedef v128_t dots_int8;
typedef v128_t group_int8;

/* The next 4 codes, in 16 bits each, for every output. */
static inline group_int8 spread_int8(const int8_t *codes) {
    return wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(codes));
}

/* sum, in two parts for every output, plus weights [LANES][4] times 4 codes. */
static inline dots_int8 dot_int8(dots_int8 sum, group_int8 codes, const int8_t *weights) {
    return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(weights), codes));
}

static inline void store_int8(int32_t *dots, dots_int8 sum) {
    dots[0] = wasm_i32x4_extract_lane(sum, 0) + wasm_i32x4_extract_lane(sum, 1);
    dots[1] = wasm_i32x4_extract_lane(sum, 2) + wasm_i32x4_extract_lane(sum, 3);
}
#elif defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#define COLUMNS_INT8 4
#define LANES_INT8 1
#define OFFSET_INT8 0
typedef int32_t dots_int8;
typedef struct group_int8 {
    int16x2_t even, odd;
} group_int8;

/* The next 4 codes, in two pairs of 16 bits. */
static inline group_int8 spread_int8(const int8_t *codes) {
    uint32_t bytes;
    int16x2_t odd;
    memcpy(&bytes, codes, 4);
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(bytes));
    return (group_int8){__sxtb16(bytes), odd};
}

/* sum plus 4 weights times 4 codes. */
static inline dots_int8 dot_int8(dots_int8 sum, group_int8 codes, const int8_t *weights) {
    group_int8 wide = spread_int8(weights);
    return __smlad(wide.odd, codes.odd, __smlad(wide.even, codes.even, sum));
}

static inline void store_int8(int32_t *dots, dots_int8 sum) {
    *dots = sum;
}
#else
#define COLUMNS_INT8 8
#define LANES_INT8 1
#define OFFSET_INT8 0
typedef int32_t dots_int8;
typedef const int8_t *group_int8;

static inline group_int8 spread_int8(const int8_t *codes) {
    return codes;
}

/* sum plus 4 weights times 4 codes. */
static inline dots_int8 dot_int8(dots_int8 sum, group_int8 codes, const int8_t *weights) {
    return sum + codes[0] * weights[0] + codes[1] * weights[1] + codes[2] * weights[2] + codes[3] * weights[3];
}

static inline void store_int8(int32_t *dots, dots_int8 sum) {
    *dots = sum;
}
#endif

/* dots [columns] = codes [groups][4] times weights [groups][width][4], of which the first columns. */
static inline __attribute__((always_inline)) void dot_columns_int8(const int8_t *codes, const int8_t *weights,
                                                                   int32_t *dots, int groups, int width, int columns) {
    dots_int8 sums[COLUMNS_INT8 / LANES_INT8];
    for (int n = 0; n < columns / LANES_INT8; n++) {
        sums[n] = (dots_int8){0};
    }
    for (int k = 0; k < groups; k++, weights += 4 * width) {
        group_int8 group = spread_int8(codes + 4 * k);
#if defined(__x86_64__) || defined(__aarch64__)
        for (int byte = 0; byte < 4 * columns; byte += 64) {
            __builtin_prefetch((const void *)((uintptr_t)weights + (uintptr_t)byte + 1024));
        }
#endif
        for (int n = 0; n < columns / LANES_INT8; n++) {
            sums[n] = dot_int8(sums[n], group, weights + 4 * LANES_INT8 * n);
        }
    }
    for (int n = 0; n < columns / LANES_INT8; n++) {
        store_int8(dots + LANES_INT8 * n, sums[n]);
    }
}

/* totals [16] plus the dots of a block [16] with its scale and sum, and 16 scales and zero points of the weights. */
static inline void add_dots_int8(const int32_t *dots, float scale, int32_t sum, const float *weight_scales,
                                 const int8_t *zero_points, float *restrict totals) {
    for (int n = 0; n < 16; n++) {
        float both = scale * weight_scales[n];
        float part = both * (float)(dots[n] - (zero_points[n] + OFFSET_INT8) * sum);
        totals[n] = totals[n] + part;
    }
}

/* y [outputs] = bias [outputs] (or 0) + int8 codes times weights [tile][block][inputs / 4][width][4], with scales and
   zero points [tile][block][width]. */
static void product_int8(const int8_t *codes, const float *scales, const int32_t *sums, const int8_t *weights,
                         const float *weight_scales, const int8_t *zero_points, const float *bias, float *y, int inputs,
                         int block, int outputs) {
    int room = (block + 7) / 8 * 8;
    for (int start = 0; start < outputs; start += 64) {
        int used = outputs - start < 64 ? outputs - start : 64;
        int width = (used + 15) / 16 * 16;
        float totals[64] = {0};
        if (bias) {
            memcpy(totals, bias + start, (size_t)used * sizeof(float));
        }
        for (int first = 0, b = 0; first < inputs; first += block, b++) {
            int groups = ((inputs - first < block ? inputs - first : block) + 3) / 4;
            int32_t dots[64];
            int column = 0;
            for (; column + COLUMNS_INT8 <= width; column += COLUMNS_INT8) {
                dot_columns_int8(codes + b * room, weights + 4 * column, dots + column, groups, width, COLUMNS_INT8);
            }
            for (; COLUMNS_INT8 > 16 && column < width; column += 16) {
                dot_columns_int8(codes + b * room, weights + 4 * column, dots + column, groups, width, 16);
            }
            for (int from = 0; from < width; from += 16) {
                add_dots_int8(dots + from, scales[b], sums[b], weight_scales + from, zero_points + from, totals + from);
            }
            weights += 4 * groups * width;
            weight_scales += width;
            zero_points += width;
        }
        memcpy(y + start, totals, (size_t)used * sizeof(float));
    }
}
