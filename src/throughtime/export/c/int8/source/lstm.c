/* The long short-term memory: i, f, o = sigmoid(W x + V h + b), g = tanh(W x + V h + b);
   c = f c + i g, h = o tanh(c). Gates are i, f, g, o. c is in units of 2^-bits, h of 2^-15. */
static void lstm(const integer_layer *layer, int bits, int16_t *h, int32_t *c, const int16_t *x)
{
    int16_t fresh[MOST_UNITS]; /* h itself is read until the last unit is done */
    for (int u = 0; u < layer->units; u++) {
        const int64_t i = sigmoid(gate_sum(layer, 0, u, x, h));
        const int64_t f = sigmoid(gate_sum(layer, 1, u, x, h));
        const int64_t g = hyperbolic_tangent(gate_sum(layer, 2, u, x, h));
        const int64_t o = sigmoid(gate_sum(layer, 3, u, x, h));
        c[u] = saturated(times(f, c[u]) + rounded(i * g, 60 - bits));
        fresh[u] = narrowed(o * hyperbolic_tangent(rounded(c[u], bits - 16)), 45);
    }
    memcpy(h, fresh, (size_t)layer->units * sizeof *h);
}
