/* The LSTM with more cells than outputs: with the gates and cells of an LSTM, h = R (o tanh(c)).
   `units` of the layer are its cells. */
static void projected_lstm(const gated_layer *layer, const float *projection, int outputs, float *h,
                           float *c, const float *x)
{
    float shown[MOST_UNITS];
    const float *weights = layer->weights;
    for (int first = 0; first < layer->units; first += BLOCK_OF_FOURS) {
        const int count = units_in_block(layer->units, first, BLOCK_OF_FOURS);
        float sums[4 * BLOCK_OF_FOURS];
        memcpy(sums, weights, sizeof sums);
        weights = product(sums, weights + 4 * BLOCK_OF_FOURS, x, layer->inputs, 4 * count);
        weights = product(sums, weights, h, outputs, 4 * count);
        for (int u = 0; u < BLOCK_OF_FOURS; u++) {
            const float i = sigmoid(sums[u]);
            const float f = sigmoid(sums[count + u]);
            const float g = hyperbolic_tangent(sums[2 * count + u]);
            const float o = sigmoid(sums[3 * count + u]);
            const float cell = f * c[first + u] + i * g;
            c[first + u] = cell;
            shown[first + u] = o * hyperbolic_tangent(cell);
        }
    }
    affine(h, projection, shown, layer->units, outputs);
}
