int32_t model_token(const char *text, size_t *bytes) {
    int32_t found = -1;
    *bytes = 0;
    for (int32_t token = 0; token < MODEL_VOCABULARY; ++token) {
        const size_t length = strlen(model_texts[token]);
        if (length > *bytes && strncmp(text, model_texts[token], length) == 0) {
            found = token;
            *bytes = length;
        }
    }
    return found;
}
