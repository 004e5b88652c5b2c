/* The LSTM with normalised gates and cell: c = f c + i g, h = o tanh(norm(c)). Gates are i, f, g, o.
   c is in units of 2^-bits, h of 2^-15. */
static void layer_norm_lstm(const normalised_layer *layer, const integer_norm *of_cell, int bits,
                            int16_t *h, int32_t *c, const int16_t *x)
{
    int32_t a[MOST_UNITS], b[MOST_UNITS], i[MOST_UNITS];
    normalised_gate(layer, 0, a, b, h, x);
    for (int u = 0; u < layer->units; u++) {
        i[u] = (int32_t)sigmoid((int64_t)a[u] + b[u]);
    }
    normalised_gate(layer, 1, a, b, h, x);
    for (int u = 0; u < layer->units; u++) {
        c[u] = (int32_t)times(sigmoid((int64_t)a[u] + b[u]), c[u]);
    }
    normalised_gate(layer, 2, a, b, h, x);
    for (int u = 0; u < layer->units; u++) {
        c[u] = saturated(c[u] + rounded(i[u] * hyperbolic_tangent((int64_t)a[u] + b[u]), 60 - bits));
        i[u] = c[u];
    }
    normalise(i, layer->units, of_cell, 0);
    normalised_gate(layer, 3, a, b, h, x);
    for (int u = 0; u < layer->units; u++) {
        const int64_t o = sigmoid((int64_t)a[u] + b[u]);
        h[u] = narrowed(o * hyperbolic_tangent(i[u]), 45);
    }
}
