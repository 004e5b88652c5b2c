/* Elman's network with a rectifier: h = max(W x + V h + b, 0), in units of 2^-bits. */
static void rnn_relu(const integer_layer *layer, int bits, int16_t *h, const int16_t *x)
{
    int16_t fresh[MOST_UNITS]; /* h itself is read until the last unit is done */
    for (int u = 0; u < layer->units; u++) {
        const int64_t sum = gate_sum(layer, 0, u, x, h);
        fresh[u] = narrowed((sum > 0 ? sum : 0) * 32768, 31 - bits);
    }
    memcpy(h, fresh, (size_t)layer->units * sizeof *h);
}
