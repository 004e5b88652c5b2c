/* The hierarchically gated network, whose forget gate is at least `bound`:
   f = bound + (1 - bound) sigmoid(W x + b), c = silu(V x + d), g = silu(U x + e);
   h = (1 - turn (1 - f)) h + (1 - f) c; turn is 1, or 2 where the state can be turned around;
   y = L (g gain h / rms(h)) + l */
static void hgrn(const gated_layer *layer, float bound, float turn, const float *gain,
                 const float *leave, float *y, float *h, const float *x)
{
    float shown[MOST_UNITS];
    const float *weights = layer->weights;
    for (int first = 0; first < layer->units; first += BLOCK_OF_FOURS) {
        const int count = units_in_block(layer->units, first, BLOCK_OF_FOURS);
        float sums[3 * BLOCK_OF_FOURS];
        memcpy(sums, weights, sizeof sums);
        weights = product(sums, weights + 3 * BLOCK_OF_FOURS, x, layer->inputs, 3 * count);
        for (int u = 0; u < BLOCK_OF_FOURS; u++) {
            const float enter = (1.0f - bound) * sigmoid(-sums[u]);
            h[first + u] = (1.0f - turn * enter) * h[first + u] + enter * silu(sums[count + u]);
            shown[first + u] = silu(sums[2 * count + u]);
        }
    }
    const float scale = root_mean_square(h, layer->units);
    for (int u = 0; u < layer->units; u++) {
        shown[u] *= h[u] * scale * gain[u];
    }
    affine(y, leave, shown, layer->units, layer->units);
}
