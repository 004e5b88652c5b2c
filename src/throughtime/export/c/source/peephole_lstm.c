/* The LSTM whose gates see the cell, by the weights P of its peepholes:
   i, f = sigmoid(W x + V h + P c + b), g = tanh(W x + V h + b);
   c = f c + i g, o = sigmoid(W x + V h + P c + b), h = o tanh(c) */
static void peephole_lstm(const gated_layer *layer, const float *peepholes, float *h, float *c,
                          const float *x)
{
    float fresh[MOST_UNITS]; /* h itself is read until the last block is done */
    const float *weights = layer->weights;
    for (int first = 0; first < layer->units; first += BLOCK_OF_FOURS) {
        const int count = units_in_block(layer->units, first, BLOCK_OF_FOURS);
        float sums[4 * BLOCK_OF_FOURS];
        memcpy(sums, weights, sizeof sums);
        weights = product(sums, weights + 4 * BLOCK_OF_FOURS, x, layer->inputs, 4 * count);
        weights = product(sums, weights, h, layer->units, 4 * count);
        for (int u = 0; u < BLOCK_OF_FOURS; u++) {
            const float before = c[first + u];
            const float i = sigmoid(sums[u] + peepholes[u] * before);
            const float f = sigmoid(sums[count + u] + peepholes[BLOCK_OF_FOURS + u] * before);
            const float g = hyperbolic_tangent(sums[2 * count + u]);
            const float cell = f * before + i * g;
            const float o = sigmoid(sums[3 * count + u] + peepholes[2 * BLOCK_OF_FOURS + u] * cell);
            c[first + u] = cell;
            fresh[first + u] = o * hyperbolic_tangent(cell);
        }
        peepholes += 3 * BLOCK_OF_FOURS;
    }
    memcpy(h, fresh, (size_t)layer->units * sizeof *h);
}
