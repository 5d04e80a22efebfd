/* One round of Philox4x32 (Salmon et al. 2011) on a counter of four words. */
static void philox_round(uint32_t counter[4], uint32_t key_low, uint32_t key_high) {
    const uint64_t left = (uint64_t)counter[0] * 0xD2511F53u;
    const uint64_t right = (uint64_t)counter[2] * 0xCD9E8D57u;
    const uint32_t second = counter[1], fourth = counter[3];
    counter[0] = (uint32_t)(right >> 32) ^ second ^ key_low;
    counter[1] = (uint32_t)right;
    counter[2] = (uint32_t)(left >> 32) ^ fourth ^ key_high;
    counter[3] = (uint32_t)left;
}

float model_uniform(uint64_t seed, uint64_t step, uint32_t lane) {
    uint32_t counter[4] = {(uint32_t)step, (uint32_t)(step >> 32), lane / 4, 0};
    uint32_t key_low = (uint32_t)seed, key_high = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        philox_round(counter, key_low, key_high);
        key_low += 0x9E3779B9u;
        key_high += 0xBB67AE85u;
    }
    return (float)(counter[lane % 4] >> 8) * 5.9604644775390625e-8f;
}
