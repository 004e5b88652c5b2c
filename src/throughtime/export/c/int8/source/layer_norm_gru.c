/* The GRU with normalised gates r, z, n: n = tanh(a + r b), h = n + z (h - n). h is in units of
   2^-30, and read by the maps as y in units of 2^-15. */
static void layer_norm_gru(const normalised_layer *layer, int16_t *y, int32_t *h, const int16_t *x)
{
    int32_t a[MOST_UNITS], b[MOST_UNITS];
    int16_t n[MOST_UNITS]; /* r and then n, in units of 2^-15 */
    const int units = layer->units;
    narrow(y, h, units, 15);
    normalised_gate(layer, 0, a, b, y, x);
    for (int u = 0; u < units; u++) {
        n[u] = narrowed(sigmoid((int64_t)a[u] + b[u]), 15);
    }
    normalised_gate(layer, 2, a, b, y, x);
    for (int u = 0; u < units; u++) {
        n[u] = narrowed(hyperbolic_tangent(a[u] + rounded((int64_t)n[u] * b[u], 15)), 15);
    }
    normalised_gate(layer, 1, a, b, y, x);
    for (int u = 0; u < units; u++) {
        const int64_t z = sigmoid((int64_t)a[u] + b[u]);
        const int32_t fresh = n[u] * 32768;
        h[u] = (int32_t)(fresh + times(z, (int64_t)h[u] - fresh));
    }
    narrow(y, h, units, 15);
}
