/* The LSTM that lets in as much as it forgets:
   f, o = sigmoid(W x + V h + b), g = tanh(W x + V h + b); c = f c + (1 - f) g, h = o tanh(c) */
static void coupled_lstm(const gated_layer *layer, float *h, float *c, const float *x)
{
    float fresh[MOST_UNITS]; /* h itself is read until the last block is done */
    const float *weights = layer->weights;
    for (int first = 0; first < layer->units; first += BLOCK_OF_FOURS) {
        const int count = units_in_block(layer->units, first, BLOCK_OF_FOURS);
        float sums[3 * BLOCK_OF_FOURS];
        memcpy(sums, weights, sizeof sums);
        weights = product(sums, weights + 3 * BLOCK_OF_FOURS, x, layer->inputs, 3 * count);
        weights = product(sums, weights, h, layer->units, 3 * count);
        for (int u = 0; u < BLOCK_OF_FOURS; u++) {
            const float f = sigmoid(sums[u]);
            const float g = hyperbolic_tangent(sums[count + u]);
            const float o = sigmoid(sums[2 * count + u]);
            const float cell = f * c[first + u] + (1.0f - f) * g;
            c[first + u] = cell;
            fresh[first + u] = o * hyperbolic_tangent(cell);
        }
    }
    memcpy(h, fresh, (size_t)layer->units * sizeof *h);
}
