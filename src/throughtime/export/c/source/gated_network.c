/* The network at the end of a residual block: y += W_3 (silu(W_1 x) W_2 x). The first two are a
   gated layer of x without biases, in blocks; of W_3 there is a row for each of its units. */
static void gated_network(const gated_layer *layer, const float *narrow, float *y, const float *x)
{
    const float *weights = layer->weights;
    for (int first = 0; first < layer->units; first += BLOCK_OF_TWOS) {
        const int count = units_in_block(layer->units, first, BLOCK_OF_TWOS);
        float sums[2 * BLOCK_OF_TWOS] = {0};
        weights = product(sums, weights, x, layer->inputs, 2 * count);
        for (int u = 0; u < count; u++) {
            sums[u] = silu(sums[u]) * sums[count + u];
        }
        for (int u = 0; u < count; u++, narrow += layer->inputs) {
            for (int j = 0; j < layer->inputs; j++) {
                y[j] += sums[u] * narrow[j];
            }
        }
    }
}
