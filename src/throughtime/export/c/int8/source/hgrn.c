/* The hierarchically gated network, whose forget gate is at least `bound`:
   f = bound + (1 - bound) sigmoid(W x + b), c = silu(V x + d), g = silu(U x + e);
   h = f h + (1 - f) c, y = L (g gain h / rms(h)) + l */
static void hgrn(const integer_hgrn *layer, int16_t *y, int32_t *h, const int16_t *x)
{
    int32_t normed[MOST_UNITS];
    int16_t shown[MOST_UNITS];
    const int units = layer->units;
    for (int u = 0; u < units; u++) {
        const int64_t f = saturated(affine_sum(&layer->gates, u, x));
        const int64_t c = silu(saturated(affine_sum(&layer->gates, units + u, x)));
        const int64_t enter = times(layer->open, sigmoid(-f));
        h[u] = (int32_t)(h[u] + times(enter, (int64_t)moved(c, layer->bits - 16) - h[u]));
        normed[u] = h[u];
    }
    by_root_mean_square(normed, units, layer->bits, 1099512); /* 1e-6 */
    for (int u = 0; u < units; u++) {
        const int64_t g = silu(saturated(affine_sum(&layer->gates, 2 * units + u, x)));
        const int64_t share = rounded(g * normed[u], 16);
        shown[u] = narrowed(share * layer->gains[u], layer->gain_bits + 16 - layer->shown_bits);
    }
    affine_signal(y, &layer->leave, shown, units);
}
