/* Elman's network with a rectifier: h = rectifier(W x + V h + b) */
static void rnn_relu(const gated_layer *layer, float *h, const float *x)
{
    float fresh[MOST_UNITS]; /* h itself is read until the last block is done */
    const float *weights = layer->weights;
    for (int first = 0; first < layer->units; first += 64) {
        const int count = units_in_block(layer->units, first, 64);
        memcpy(fresh + first, weights, (size_t)count * sizeof *fresh);
        weights = product(fresh + first, weights + count, x, layer->inputs, count);
        weights = product(fresh + first, weights, h, layer->units, count);
    }
    for (int u = 0; u < layer->units; u++) {
        fresh[u] = rectifier(fresh[u]);
    }
    memcpy(h, fresh, (size_t)layer->units * sizeof *h);
}
