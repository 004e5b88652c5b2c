/* The long short-term memory:
   i, f, o = sigmoid(W x + V h + b), g = tanh(W x + V h + b), each gate with its own W, V and b;
   c = f c + i g, h = o tanh(c) */
static void lstm(const gated_layer *layer, float *h, float *c, const float *x)
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
            const float i = sigmoid(sums[u]);
            const float f = sigmoid(sums[count + u]);
            const float g = hyperbolic_tangent(sums[2 * count + u]);
            const float o = sigmoid(sums[3 * count + u]);
            const float cell = f * c[first + u] + i * g;
            c[first + u] = cell;
            fresh[first + u] = o * hyperbolic_tangent(cell);
        }
    }
    memcpy(h, fresh, (size_t)layer->units * sizeof *h);
}
