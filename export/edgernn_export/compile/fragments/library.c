EXPORTED uint32_t edgernn_abi(void);
EXPORTED uint32_t edgernn_state_offset(uint32_t state);
EXPORTED void edgernn_reset(void *state);
EXPORTED int32_t edgernn_run(const edgernn_call *call);

uint32_t edgernn_abi(void) {
    return 1;
}

uint32_t edgernn_state_bytes(void) {
    return (uint32_t)((sizeof(model_state) + 63) / 64 * 64);
}

void edgernn_reset(void *state) {
    model_reset((model_state *)state);
}

int32_t edgernn_run(const edgernn_call *call) {
    for (int32_t row = 0; row < call->rows; ++row) {
        if (!model_accepts_row(call, (size_t)row)) {
            return -1;
        }
    }
    for (int32_t row = 0; row < call->rows; ++row) {
        model_run_row(call, (size_t)row);
    }
    return 0;
}
