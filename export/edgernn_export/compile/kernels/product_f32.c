#if defined(__AVX512F__)
#define FLOATS 16
#elif defined(__AVX__)
#define FLOATS 8
#elif defined(__SSE2__) || defined(__ARM_NEON) || defined(__wasm_simd128__)
#define FLOATS 4
#endif

#ifdef FLOATS
typedef float lanes_f32 __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));

/* Add x [inputs] times the next count * FLOATS columns of weights [inputs][width] to totals, in blocks of 64 inputs. */
static inline __attribute__((always_inline)) void add_columns_f32(const float *x, const float *weights, float *totals,
                                                                  int inputs, int width, int count) {
    for (int block = 0; block < inputs; block += 64) {
        int end = inputs - block < 64 ? inputs : block + 64;
        lanes_f32 sums[64 / FLOATS] = {{0}};
        for (int k = block; k < end; k++, weights += width) {
#if defined(__x86_64__) || defined(__aarch64__)
            for (int byte = 0; byte < 4 * FLOATS * count; byte += 64) {
                __builtin_prefetch((const void *)((uintptr_t)weights + (uintptr_t)byte + 1024));
            }
#endif
            for (int n = 0; n < count; n++) {
                lanes_f32 product = x[k] * ((const lanes_f32 *)weights)[n];
                sums[n] = sums[n] + product;
            }
        }
        for (int n = 0; n < count; n++) {
            ((lanes_f32 *)totals)[n] = ((lanes_f32 *)totals)[n] + sums[n];
        }
    }
}

/* Add x [inputs] times a tile of weights [inputs][width] to totals [width]. */
static inline void add_tile_f32(const float *x, const float *weights, float *totals, int inputs, int width) {
    if (width == 64 && FLOATS > 4) {
        add_columns_f32(x, weights, totals, inputs, 64, 64 / FLOATS);
        return;
    }
    int column = 0;
    for (; column + 32 <= width; column += 32) {
        add_columns_f32(x, weights + column, totals + column, inputs, width, 32 / FLOATS);
    }
    if (column < width) {
        add_columns_f32(x, weights + column, totals + column, inputs, width, 16 / FLOATS);
    }
}
#undef FLOATS
#else
/* Add x [inputs] times a tile of weights [inputs][width] to totals [width], 8 columns at once. */
static inline void add_tile_f32(const float *x, const float *weights, float *totals, int inputs, int width) {
    for (int column = 0; column < width; column += 8) {
        const float *next = weights + column;
        for (int block = 0; block < inputs; block += 64) {
            int end = inputs - block < 64 ? inputs : block + 64;
            float sums[8] = {0};
            for (int k = block; k < end; k++, next += width) {
                for (int n = 0; n < 8; n++) {
                    float product = x[k] * next[n];
                    sums[n] = sums[n] + product;
                }
            }
            for (int n = 0; n < 8; n++) {
                totals[column + n] = totals[column + n] + sums[n];
            }
        }
    }
}
#endif

/* y [outputs] = bias [outputs] (or 0) + x [inputs] times weights [tile][inputs][width], in blocks of 64 inputs. */
static void product_f32(const float *x, const float *weights, const float *bias, float *y, int inputs, int outputs) {
    for (int start = 0; start < outputs; start += 64) {
        int used = outputs - start < 64 ? outputs - start : 64;
        int width = (used + 15) / 16 * 16;
        float totals[64] = {0};
        if (bias) {
            memcpy(totals, bias + start, (size_t)used * sizeof(float));
        }
        add_tile_f32(x, weights, totals, inputs, width);
        weights += inputs * width;
        memcpy(y + start, totals, (size_t)used * sizeof(float));
    }
}
