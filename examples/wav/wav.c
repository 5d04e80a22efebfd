/* Streams a WAV file (PCM of 16 bits, one channel) through a compiled signal model, one frame at a time.
 *
 *     wav in.wav           prints when each frame begins, and the first number that the model makes of it
 *     wav in.wav out.wav   writes the samples that the model makes of each frame
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#ifndef MODEL_INPUT_SIZE
#error "this model takes tokens: compile a model of samples"
#endif
#define FRAME MODEL_INPUT_SIZE
#define OUTPUT MODEL_OUTPUT_SIZE
#ifdef MODEL_RATE_HZ /* frames a second */
#define RATE_HZ ((double)MODEL_RATE_HZ * FRAME / MODEL_FRAMES_PER_STEP)
#endif

#ifdef MODEL_FLUSH /* the model looks ahead, and is told when the recording has ended */
#define STEP(state, frame, ended, made) model_step(state, frame, ended, made)
#else
#define STEP(state, frame, ended, made) model_step(state, frame, made)
#endif
#ifndef MODEL_DELAY_STEPS
#define MODEL_DELAY_STEPS 0
#endif

typedef struct wav {
    FILE *file;
    uint32_t rate_hz;
    uint32_t samples; /* of the recording */
    uint32_t left;    /* not yet read */
} wav;

/* Return the number that count bytes stand for, the lowest first. */
static uint32_t number(const uint8_t *bytes, int count) {
    return count == 0 ? 0 : bytes[0] | number(bytes + 1, count - 1) << 8;
}

/* Put a number as count bytes, the lowest first. */
static void put(FILE *file, uint32_t value, int count) {
    for (; count; --count, value >>= 8) {
        fputc((int)(value & 255), file);
    }
}

/* Open a file and go to its samples; 0, or -1 if it is no WAV file of this kind. */
static int open_wav(wav *in, const char *path) {
    uint8_t head[12], format[16];
    in->rate_hz = 0;
    in->file = fopen(path, "rb");
    if (!in->file || fread(head, 1, 12, in->file) != 12 || memcmp(head, "RIFF", 4) || memcmp(head + 8, "WAVE", 4)) {
        return -1;
    }
    while (fread(head, 1, 8, in->file) == 8) {
        uint32_t bytes = number(head + 4, 4);
        if (!memcmp(head, "data", 4)) {
            in->samples = in->left = bytes / 2;
            return in->rate_hz ? 0 : -1;
        }
        if (!memcmp(head, "fmt ", 4) && bytes >= 16) {
            if (fread(format, 1, 16, in->file) != 16) {
                return -1;
            }
            if (number(format, 2) != 1 || number(format + 2, 2) != 1 || number(format + 14, 2) != 16) {
                return -1;
            }
            in->rate_hz = number(format + 4, 4);
            bytes -= 16;
        }
        if (fseek(in->file, (long)(bytes + bytes % 2), SEEK_CUR)) {
            return -1;
        }
    }
    return -1;
}

/* Write the head of a file with as many samples as another. */
static void write_head(FILE *out, const wav *in) {
    fputs("RIFF", out);
    put(out, 36 + 2 * in->samples, 4);
    fputs("WAVEfmt ", out);
    put(out, 16, 4);
    put(out, 1, 2);
    put(out, 1, 2);
    put(out, in->rate_hz, 4);
    put(out, 2 * in->rate_hz, 4);
    put(out, 2, 2);
    put(out, 16, 2);
    fputs("data", out);
    put(out, 2 * in->samples, 4);
}

/* Read the next frame, samples from -1 to 1, with silence behind the last one. */
static void read_frame(wav *in, float frame[FRAME]) {
    uint8_t bytes[2];
    int i;
    for (i = 0; i < FRAME; ++i) {
        const int there = in->left && fread(bytes, 1, 2, in->file) == 2;
        in->left -= there ? 1 : in->left;
        frame[i] = there ? (float)(int16_t)number(bytes, 2) / 32768.0f : 0.0f;
    }
}

/* Write count samples of a frame, clipped to what 16 bits hold. */
static void write_frame(FILE *file, const float frame[OUTPUT], uint32_t count) {
    uint32_t i;
    for (i = 0; i < count; ++i) {
        float sample = frame[i] * 32768.0f;
        sample = sample < -32768.0f ? -32768.0f : sample > 32767.0f ? 32767.0f : sample;
        put(file, (uint32_t)(int32_t)(sample < 0 ? sample - 0.5f : sample + 0.5f), 2);
    }
}

/* Say what is wrong with asking this model for this; 0 if nothing is. */
static int refuse(const wav *in, int writes) {
#ifdef MODEL_RATE_HZ
    if (in->rate_hz < RATE_HZ - 1 || in->rate_hz > RATE_HZ + 1) {
        fprintf(stderr, "the model takes %g samples a second, the recording has %u\n", RATE_HZ, (unsigned)in->rate_hz);
        return 1;
    }
#else
    fprintf(stderr, "the model does not say how many samples a second it takes; the recording has %u\n",
            (unsigned)in->rate_hz);
#endif
    if (writes && OUTPUT != FRAME) {
        fprintf(stderr, "the model makes %d numbers of %d samples, so it writes no recording\n", OUTPUT, FRAME);
        return 1;
    }
    return 0;
}

/* Take a recording through the model: a line a frame, or the samples that are made if there is a file for them. */
static void stream(wav *in, FILE *out) {
    static model_state state;
    static float frame[FRAME], made[OUTPUT];
    const uint32_t delay = MODEL_DELAY_STEPS, frames = (in->samples + FRAME - 1) / FRAME;
    uint32_t step, done = 0;
    model_reset(&state);
    for (step = 0; step < frames + delay; ++step) {
        read_frame(in, frame);
        STEP(&state, frame, step >= frames, made);
        if (step < delay) {
            continue;
        }
        if (out) {
            uint32_t left = in->samples - done;
            write_frame(out, made, left < OUTPUT ? left : OUTPUT);
        } else {
            printf("%.3f %.4f\n", (double)done / in->rate_hz, (double)made[0]);
        }
        done += FRAME;
    }
}

/* Write what the model makes of a recording to PATH.part, and rename that when it is whole; 0, or -1. */
static int write_wav(wav *in, const char *path) {
    char *part = malloc(strlen(path) + sizeof ".part");
    FILE *out = part ? fopen(strcat(strcpy(part, path), ".part"), "wb") : NULL;
    int failed = !out;
    if (out) {
        write_head(out, in);
        stream(in, out);
        failed = ferror(out) != 0;
        failed |= fclose(out) != 0;
        failed = failed || rename(part, path);
        if (failed) {
            remove(part);
        }
    }
    free(part);
    return failed ? -1 : 0;
}

int main(int argc, char **argv) {
    wav in;
    if (argc < 2 || argc > 3 || open_wav(&in, argv[1])) {
        fprintf(stderr, "usage: wav in.wav [out.wav], with PCM of 16 bits and one channel\n");
        return 1;
    }
    if (refuse(&in, argc > 2)) {
        return 1;
    }
    if (argc == 2) {
        stream(&in, NULL);
    } else if (write_wav(&in, argv[2])) {
        fprintf(stderr, "%s cannot be written\n", argv[2]);
        return 1;
    }
    fclose(in.file);
    return 0;
}
