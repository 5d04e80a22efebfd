int32_t model_token(const char *text, size_t *bytes) {
    int32_t found = -1;
    *bytes = 0;
    for (int32_t token = 0; token < MODEL_VOCABULARY; ++token) {
        size_t length = 0;
        while (model_texts[token][length] && model_texts[token][length] == text[length]) {
            ++length;
        }
        if (!model_texts[token][length] && length > *bytes) {
            found = token;
            *bytes = length;
        }
    }
    return found;
}
