/* A convolution over the inputs now and before: y = b + the sum of W_k x_(t - k dilation). `past`
   has the last (width - 1) dilation inputs, oldest first. */
static void convolution(const integer_convolution *layer, int16_t *y, int16_t *past,
                        const int16_t *x)
{
    const int inputs = layer->inputs, kept = (layer->width - 1) * layer->dilation;
    for (int d = 0; d < layer->outputs; d++) {
        int64_t sum = layer->biases[d] * ((int64_t)1 << layer->bits);
        sum += product(layer->taps, d, x);
        for (int k = 1; k < layer->width; k++) {
            const int16_t *seen = past + (kept - k * layer->dilation) * inputs;
            sum += product(layer->taps + k, d, seen);
        }
        y[d] = narrowed(sum, 8);
    }
    remember(past, kept, x, inputs);
}
