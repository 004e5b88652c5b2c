/* The gated recurrent unit:
   r, z = sigmoid(W x + V h + b), n = tanh(W x + b + r (V h + d)), h = (1 - z) n + z h.
   Sums are those of n from the input, r, z, and n from the state: x adds to the first three and h
   to the last three. */
static void gru(const gated_layer *layer, float *h, const float *x)
{
    float fresh[MOST_UNITS]; /* h itself is read until the last block is done */
    const float *weights = layer->weights;
    for (int first = 0; first < layer->units; first += BLOCK_OF_FOURS) {
        const int count = units_in_block(layer->units, first, BLOCK_OF_FOURS);
        float sums[4 * BLOCK_OF_FOURS];
        memcpy(sums, weights, sizeof sums);
        weights = product(sums, weights + 4 * BLOCK_OF_FOURS, x, layer->inputs, 3 * count);
        weights = product(sums + count, weights, h, layer->units, 3 * count);
        for (int u = 0; u < BLOCK_OF_FOURS; u++) {
            const float r = sigmoid(sums[count + u]);
            const float z = sigmoid(sums[2 * count + u]);
            const float n = hyperbolic_tangent(sums[u] + r * sums[3 * count + u]);
            fresh[first + u] = (1.0f - z) * n + z * h[first + u];
        }
    }
    memcpy(h, fresh, (size_t)layer->units * sizeof *h);
}
