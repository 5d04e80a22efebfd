/* The first of count cumulative probabilities at which the smaller of it and a bound is largest. */
static int first_reaching_f32(const float *cumulative, int count, float bound) {
    int found = 0;
    for (int i = 1; i < count; ++i) {
        const float here = cumulative[i] < bound ? cumulative[i] : bound;
        const float there = cumulative[found] < bound ? cumulative[found] : bound;
        found = here > there ? i : found;
    }
    return found;
}
