/* The selective state space, N states for each of H units: u = W x, d = softplus(V u + b);
   h[k][n] = exp(-d[k] rate[k][n]) h[k][n] + d[k] u[k] B[n],
   y[k] = sum of C[n] h[k][n] + skip[k] u[k], where B and C are maps of u. */
static void selective(const integer_selective *layer, int16_t *y, int32_t *h, const int16_t *x)
{
    int16_t u[MOST_UNITS], few[MOST_RANK], into[MOST_STATES], out[MOST_STATES];
    const int64_t one = (int64_t)1 << 30;
    const int16_t *rate = layer->rates;
    map_signal(u, &layer->enter, x, layer->units);
    map_signal(few, &layer->condense, u, layer->rank);
    map_signal(into, &layer->into, u, layer->states);
    map_signal(out, &layer->out, u, layer->states);
    for (int k = 0; k < layer->units; k++) {
        const int64_t length = step_length(saturated(affine_sum(&layer->widen, k, few)));
        const int64_t enters = length * u[k], skipped = (int64_t)layer->skips[k] * u[k];
        int64_t sum = 0;
        for (int n = 0; n < layer->states; n++) {
            const int64_t fades = rounded(length * rate_of(rate[n]), layer->rate_down);
            const int64_t lost = one - decay_of(saturated(fades));
            const int64_t entered = rounded(enters * into[n], layer->enter_down);
            h[n] = saturated(h[n] - times(lost, h[n]) + entered);
            sum += (int64_t)out[n] * h[n];
        }
        y[k] = narrowed(rounded(sum, layer->out_down) + rounded(skipped, layer->skip_down), 8);
        h += layer->states;
        rate += layer->states;
    }
}
