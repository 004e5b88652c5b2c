/* The real-gated linear recurrent unit: u = W x + b, r, i = sigmoid(V u + d), a = exp(r rate);
   h = (1 - turn (1 - a)) h + sqrt(1 - a^2) i u; turn is 1, or 2 where the state can be turned
   around. The gates' layer reads u. */
static void rg_lru(const gated_layer *gates, const float *enter, const float *rate, float turn,
                   float *h, const float *x, int inputs)
{
    float input[MOST_UNITS]; /* u, in whole blocks */
    const float *weights = gates->weights;
    memset(input, 0, sizeof input);
    affine(input, enter, x, inputs, gates->units);
    for (int first = 0; first < gates->units; first += BLOCK_OF_TWOS) {
        const int count = units_in_block(gates->units, first, BLOCK_OF_TWOS);
        float sums[2 * BLOCK_OF_TWOS];
        memcpy(sums, weights, sizeof sums);
        weights = product(sums, weights + 2 * BLOCK_OF_TWOS, input, gates->units, 2 * count);
        for (int u = 0; u < BLOCK_OF_TWOS; u++) {
            const float r = sigmoid(sums[u]), i = sigmoid(sums[count + u]);
            const exponential_parts e = exponential(bounded(r * rate[first + u], 87.0f));
            /* 1 - a, as no difference of two numbers near one; 1 - a^2 = (1 - a) (1 + a) */
            const float lost = (1.0f - e.power) - e.power * e.rest;
            const float share = square_root(lost * (2.0f - lost) + 1e-12f);
            h[first + u] += share * (i * input[first + u]) - turn * lost * h[first + u];
        }
    }
}
