/* The minimal GRU: z = sigmoid(W x + b), c = V x + d, h = (1 - turn z) h + z c; turn is 1, or 2
   where the state can be turned around */
static void min_gru(const gated_layer *layer, float turn, float *h, const float *x)
{
    const float *weights = layer->weights;
    for (int first = 0; first < layer->units; first += BLOCK_OF_TWOS) {
        const int count = units_in_block(layer->units, first, BLOCK_OF_TWOS);
        float sums[2 * BLOCK_OF_TWOS];
        memcpy(sums, weights, sizeof sums);
        weights = product(sums, weights + 2 * BLOCK_OF_TWOS, x, layer->inputs, 2 * count);
        for (int u = 0; u < BLOCK_OF_TWOS; u++) {
            const float z = sigmoid(sums[u]);
            h[first + u] = (1.0f - turn * z) * h[first + u] + z * sums[count + u];
        }
    }
}
