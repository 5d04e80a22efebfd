/* Prints the bits of the logits after each of some tokens, to be compared with another machine's. */
#include <string.h>

#include "board.h"
#include "model.h"

static const int32_t tokens[] = {TOKENS};
static model_state state;
static float logits[MODEL_VOCABULARY];

int main(void) {
    size_t step, i;
    board_begin();
    model_reset(&state);
    for (step = 0; step < sizeof tokens / sizeof *tokens; ++step) {
        if (model_step(&state, tokens[step], logits)) {
            return 1;
        }
        for (i = 0; i < MODEL_VOCABULARY; ++i) {
            uint32_t bits;
            memcpy(&bits, &logits[i], 4);
            board_word(bits);
            board_text(i + 1 < MODEL_VOCABULARY ? " " : "\n");
        }
    }
    return 0;
}
