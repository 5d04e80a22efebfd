/* y [groups * outputs][positions] = bias (or 0) + each of x [groups * inputs][frames] times its window of weights
   [groups * inputs][outputs][width], cut off by padding at the front. */
static void convolution_transpose(const float *x, const float *weights, const float *bias, float *y, int groups,
                                  int inputs, int outputs, int frames, int positions, int width, int stride,
                                  int dilation, int padding) {
    for (int channel = 0; channel < groups * outputs; ++channel) {
        for (int at = 0; at < positions; ++at) {
            y[channel * positions + at] = bias ? bias[channel] : 0.0f;
        }
        for (int input = 0; input < inputs; ++input) {
            const int source = channel / outputs * inputs + input;
            for (int frame = 0; frame < frames; ++frame) {
                for (int k = 0; k < width; ++k) {
                    const int at = frame * stride + k * dilation - padding;
                    const float weight = weights[(source * outputs + channel % outputs) * width + k];
                    if (at >= 0 && at < positions) {
                        const float term = x[source * frames + frame] * weight;
                        y[channel * positions + at] += term;
                    }
                }
            }
        }
    }
}
