/* A linear recurrence of complex states, each turned and shortened by its own factor a at a step:
   h = a h + B x, y = Re(C h) + D x. Real and imaginary parts lie apart. `enter` is as of a gated
   layer whose gates are the two parts of B x; `leave` has, by panels of 64 outputs, a row for each
   real part, each imaginary part and each input. */
typedef struct {
    int inputs, states, outputs;
    const float *enter, *factor_real, *factor_imaginary, *leave;
} rotation_layer;

static void rotation(const rotation_layer *layer, float *y, float *real, float *imaginary,
                     const float *x)
{
    const float *weights = layer->enter;
    for (int first = 0; first < layer->states; first += BLOCK_OF_TWOS) {
        const int count = units_in_block(layer->states, first, BLOCK_OF_TWOS);
        float sums[2 * BLOCK_OF_TWOS];
        memcpy(sums, weights, sizeof sums);
        weights = product(sums, weights + 2 * BLOCK_OF_TWOS, x, layer->inputs, 2 * count);
        for (int u = 0; u < BLOCK_OF_TWOS; u++) {
            const float a = layer->factor_real[first + u], b = layer->factor_imaginary[first + u];
            const float before = real[first + u];
            real[first + u] = a * before - b * imaginary[first + u] + sums[u];
            imaginary[first + u] = a * imaginary[first + u] + b * before + sums[count + u];
        }
    }
    const float *rows = layer->leave;
    memset(y, 0, (size_t)layer->outputs * sizeof *y);
    for (int first = 0; first < layer->outputs; first += 64) {
        const int width = layer->outputs - first < 64 ? layer->outputs - first : 64;
        rows = product(y + first, rows, real, layer->states, width);
        rows = product(y + first, rows, imaginary, layer->states, width);
        rows = product(y + first, rows, x, layer->inputs, width);
    }
}
