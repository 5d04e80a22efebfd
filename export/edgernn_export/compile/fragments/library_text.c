EXPORTED const char *edgernn_text(int32_t token);
EXPORTED int32_t edgernn_token(const char *text, size_t *bytes);

const char *edgernn_text(int32_t token) {
    return token < 0 || token >= MODEL_VOCABULARY ? NULL : model_texts[token];
}

int32_t edgernn_token(const char *text, size_t *bytes) {
    return model_token(text, bytes);
}
