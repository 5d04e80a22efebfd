/* Prints what a text model writes, as it is made, and what a token costs. */
#include "board.h"
#include "model.h"

#ifndef MODEL_HAS_TEXTS
#error "this model has no texts: compile a model of edgernn train text"
#endif
#ifndef PROMPT
#define PROMPT ""
#endif
#ifndef TOKENS
#define TOKENS 64
#endif
#ifndef SEED
#define SEED 1
#endif
#ifdef CYCLES_PER_TICK /* of an emulator's clock */
#define COUNTED ", one for each instruction"
#else
#define COUNTED ""
#endif

static model_stream stream;

/* Feed a text to the stream; 0, or -1 if the model has no token for a part of it. */
static int feed(const char *text) {
    while (*text) {
        size_t bytes;
        int32_t token = model_token(text, &bytes);
        if (token < 0 || model_prefill(&stream, &token, 1)) {
            return -1;
        }
        text += bytes;
    }
    return 0;
}

/* Say what went wrong, and fail. */
static int fail(const char *what) {
    board_text(what);
    return 1;
}

int main(void) {
    const model_sampler sampler = {0.8f, 0, 1.0f, 1.0f};
    uint64_t cycles = 0;
    int made;
    board_begin();
    model_begin(&stream, SEED, sampler);
    if (feed(PROMPT)) {
        return fail("the model has no token for a part of the prompt\n");
    }
    board_text(PROMPT);
    for (made = 0; made < TOKENS; ++made) {
        int32_t token;
        board_cycles();
        token = model_next(&stream);
        cycles += board_cycles();
        if (token < 0) {
            return fail("nothing to begin with: give a prompt\n");
        }
#ifdef MODEL_END
        if (token == MODEL_END) {
            break;
        }
#endif
        board_text(model_texts[token]);
    }
    board_text("\n");
    board_number(made ? (uint32_t)(cycles / (uint64_t)made) : 0);
    board_text(" cycles a token" COUNTED "\n");
    return 0;
}
