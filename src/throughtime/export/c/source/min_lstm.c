/* The minimal LSTM: f, i = sigmoid(W x + b), c = V x + d, h = ((f - less i) h + i c) / (f + i);
   less is 0, or 1 where the state can be turned around.
   With sigmoid(x) = exp(min(x, 0)) / (1 + exp(-|x|)), the quotient is finite where both gates are
   shut. */
static void min_lstm(const gated_layer *layer, float less, float *h, const float *x)
{
    const float *weights = layer->weights;
    for (int first = 0; first < layer->units; first += BLOCK_OF_FOURS) {
        const int count = units_in_block(layer->units, first, BLOCK_OF_FOURS);
        float sums[3 * BLOCK_OF_FOURS];
        memcpy(sums, weights, sizeof sums);
        weights = product(sums, weights + 3 * BLOCK_OF_FOURS, x, layer->inputs, 3 * count);
        for (int u = 0; u < BLOCK_OF_FOURS; u++) {
            const float f = sums[u], i = sums[count + u];
            const float shut_f = magnitude(f), shut_i = magnitude(i);
            /* Both are the gate times the same number. */
            const float forget = 1.0f + exponential_of(-shut_i);
            const float apart = 0.5f * ((i - shut_i) - (f - shut_f)); /* min(i, 0) - min(f, 0) */
            const float enter = exponential_of(apart) * (1.0f + exponential_of(-shut_f));
            const float whole = 1.0f / (forget + enter);
            const float keep = (forget - less * enter) * whole;
            h[first + u] = keep * h[first + u] + enter * whole * sums[2 * count + u];
        }
    }
}
