#if defined(EDGERNN_LIBRARY)
/* What the runtimes call, under names that do not depend on the model. */
#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#elif defined(__GNUC__)
#define EXPORTED __attribute__((visibility("default"), used))
#else
#define EXPORTED
#endif

typedef struct edgernn_call {
    void *states;
    const void *const *inputs;
    void *const *outputs;
    int32_t rows;
    int32_t top_k;
    float temperature;
    float top_p;
    int32_t ranked;
} edgernn_call;

EXPORTED uint32_t edgernn_state_bytes(void);
