/* The LSTM with more cells than outputs: with the gates and cells of an LSTM, h = R (o tanh(c)).
   `units` of the layer are its cells; the projection gives h in 2^-8 of its units. */
static void projected_lstm(const integer_layer *layer, const integer_affine *projection,
                           int outputs, int bits, int16_t *h, int32_t *c, const int16_t *x)
{
    int16_t shown[MOST_UNITS];
    for (int u = 0; u < layer->units; u++) {
        const int64_t i = sigmoid(gate_sum(layer, 0, u, x, h));
        const int64_t f = sigmoid(gate_sum(layer, 1, u, x, h));
        const int64_t g = hyperbolic_tangent(gate_sum(layer, 2, u, x, h));
        const int64_t o = sigmoid(gate_sum(layer, 3, u, x, h));
        c[u] = saturated(times(f, c[u]) + rounded(i * g, 60 - bits));
        shown[u] = narrowed(o * hyperbolic_tangent(rounded(c[u], bits - 16)), 45);
    }
    affine_signal(h, projection, shown, outputs);
}
