/* The gated recurrent unit:
   r, z = sigmoid(W x + V h + b), n = tanh(W x + b + r (V h + d)), h = n + z (h - n).
   h is in units of 2^-30, and read by the maps as y in units of 2^-15. */
static void gru(const integer_layer *layer, int16_t *y, int32_t *h, const int16_t *x)
{
    const int units = layer->units;
    narrow(y, h, units, 15);
    for (int u = 0; u < units; u++) {
        const int64_t r = sigmoid(gate_sum(layer, 0, u, x, y));
        const int64_t z = sigmoid(gate_sum(layer, 1, u, x, y));
        const int64_t from_x = affine_sum(&layer->from_x, 2 * units + u, x);
        const int64_t bias = bias_of(&layer->from_x, 3 * units + u);
        const int64_t from_h = bias + product(&layer->from_h, 2 * units + u, y);
        const int64_t n = hyperbolic_tangent(saturated(from_x + times(r, saturated(from_h))));
        h[u] = (int32_t)(n + times(z, h[u] - n));
    }
    narrow(y, h, units, 15);
}
