/* A convolution over the inputs now and before: y = b + the sum of W_k x_(t - k dilation). `past`
   has the last (width - 1) dilation inputs, oldest first. The weights are b, and then W_0, W_1 and
   so on by panels of 64 outputs, a row for each input. */
typedef struct {
    int inputs, outputs, width, dilation;
    const float *weights;
} convolution_layer;

static void convolution(const convolution_layer *layer, float *y, float *past, const float *x)
{
    const int inputs = layer->inputs, kept = (layer->width - 1) * layer->dilation;
    const float *rows = layer->weights + layer->outputs;
    memcpy(y, layer->weights, (size_t)layer->outputs * sizeof *y);
    for (int first = 0; first < layer->outputs; first += 64) {
        const int columns = layer->outputs - first < 64 ? layer->outputs - first : 64;
        rows = product(y + first, rows, x, inputs, columns);
        for (int k = 1; k < layer->width; k++) {
            const float *seen = past + (kept - k * layer->dilation) * inputs;
            rows = product(y + first, rows, seen, inputs, columns);
        }
    }
    memmove(past, past + inputs, (size_t)((kept - 1) * inputs) * sizeof *past);
    memcpy(past + (kept - 1) * inputs, x, (size_t)inputs * sizeof *past);
}
