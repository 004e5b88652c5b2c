/* The real-gated linear recurrent unit: u = W x + b, r, i = sigmoid(V u + d), a = exp(-r rate);
   h = a h + sqrt(1 - a^2) i u. */
static void rg_lru(const integer_rg_lru *layer, int16_t *y, int32_t *h, const int16_t *x)
{
    int16_t input[MOST_UNITS]; /* u */
    const int units = layer->units;
    const int64_t one = (int64_t)1 << 30;
    affine_signal(input, &layer->enter, x, units);
    for (int u = 0; u < units; u++) {
        const int64_t r = sigmoid(saturated(affine_sum(&layer->gates, u, input)));
        const int64_t i = sigmoid(saturated(affine_sum(&layer->gates, units + u, input)));
        /* 1 - a; and 1 - a^2 = (1 - a) (1 + a) */
        const int64_t lost = one - decay_of(times(r, layer->rates[u]));
        const int64_t share = whole_root(lost * (2 * one - lost));
        const int64_t enters = times(share, times(i, moved(input[u], layer->up)));
        h[u] = saturated(h[u] - times(lost, h[u]) + enters);
    }
    narrow(y, h, units, layer->down);
}
