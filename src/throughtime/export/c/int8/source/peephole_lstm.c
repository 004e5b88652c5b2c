/* The LSTM whose gates see the cell, by the weights P of its peepholes, in units of 2^-of_cell of
   those of the sums: i, f = sigmoid(W x + V h + P c + b), g = tanh(W x + V h + b);
   c = f c + i g, o = sigmoid(W x + V h + P c + b), h = o tanh(c). Gates are i, f, g, o, and of the
   peepholes i, f, o. c is in units of 2^-bits, h of 2^-15. */
static void peephole_lstm(const integer_layer *layer, const int16_t *peepholes, int of_cell,
                          int bits, int16_t *h, int32_t *c, const int16_t *x)
{
    int16_t fresh[MOST_UNITS]; /* h itself is read until the last unit is done */
    const int units = layer->units;
    for (int u = 0; u < units; u++) {
        const int64_t before = c[u];
        const int64_t into = rounded(peepholes[u] * before, of_cell);
        const int64_t kept = rounded(peepholes[units + u] * before, of_cell);
        const int64_t i = sigmoid(gate_sum(layer, 0, u, x, h) + into);
        const int64_t f = sigmoid(gate_sum(layer, 1, u, x, h) + kept);
        const int64_t g = hyperbolic_tangent(gate_sum(layer, 2, u, x, h));
        c[u] = saturated(times(f, before) + rounded(i * g, 60 - bits));
        const int64_t out = rounded(peepholes[2 * units + u] * (int64_t)c[u], of_cell);
        const int64_t o = sigmoid(gate_sum(layer, 3, u, x, h) + out);
        fresh[u] = narrowed(o * hyperbolic_tangent(rounded(c[u], bits - 16)), 45);
    }
    memcpy(h, fresh, (size_t)units * sizeof *h);
}
