/* Elman's network: h = tanh(W x + V h + b), in units of 2^-15. */
static void rnn(const integer_layer *layer, int16_t *h, const int16_t *x)
{
    int16_t fresh[MOST_UNITS]; /* h itself is read until the last unit is done */
    for (int u = 0; u < layer->units; u++) {
        fresh[u] = narrowed(hyperbolic_tangent(gate_sum(layer, 0, u, x, h)), 15);
    }
    memcpy(h, fresh, (size_t)layer->units * sizeof *h);
}
