/* Prints what a text model writes: write [PROMPT [TOKENS [SEED [TEMPERATURE]]]] */
#include <stdio.h>
#include <stdlib.h>

#include "model.h"

#ifndef MODEL_HAS_TEXTS
#error "this model has no texts: compile a model of edgernn train text"
#endif

/* Feed a text to a stream; 0, or -1 if the model has no token for a part of it. */
static int feed(model_stream *stream, const char *text) {
    while (*text) {
        size_t bytes;
        int32_t token = model_token(text, &bytes);
        if (token < 0 || model_prefill(stream, &token, 1)) {
            return -1;
        }
        text += bytes;
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *prompt = argc > 1 ? argv[1] : "";
    int tokens = argc > 2 ? atoi(argv[2]) : 200;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    const model_sampler sampler = {argc > 4 ? strtof(argv[4], NULL) : 0.8f, 0, 1.0f, 1.0f};
    static model_stream stream;
    model_begin(&stream, seed, sampler);
    if (feed(&stream, prompt)) {
        fprintf(stderr, "the model has no token for a part of the prompt\n");
        return 1;
    }
    fputs(prompt, stdout);
    for (; tokens > 0; --tokens) {
        int32_t token = model_next(&stream);
        if (token < 0) {
            fprintf(stderr, "nothing to begin with: give a prompt\n");
            return 1;
        }
#ifdef MODEL_END
        if (token == MODEL_END) {
            break;
        }
#endif
        fputs(model_texts[token], stdout);
        fflush(stdout);
    }
    putchar('\n');
    return 0;
}
