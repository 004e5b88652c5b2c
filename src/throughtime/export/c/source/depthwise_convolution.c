/* A convolution of each feature by itself: y = b + the sum of w_k x_(t - k dilation). `past` has
   the last (width - 1) dilation inputs, oldest first; the weights are b, w_0, w_1 and so on. */
typedef struct {
    int features, width, dilation;
    const float *weights;
} depthwise_layer;

static void depthwise_convolution(const depthwise_layer *layer, float *y, float *past,
                                  const float *x)
{
    const int features = layer->features, kept = (layer->width - 1) * layer->dilation;
    const float *weights = layer->weights;
    for (int u = 0; u < features; u++) {
        y[u] = weights[u] + weights[features + u] * x[u];
    }
    for (int k = 1; k < layer->width; k++) {
        const float *seen = past + (kept - k * layer->dilation) * features;
        const float *weight = weights + (k + 1) * features;
        for (int u = 0; u < features; u++) {
            y[u] += weight[u] * seen[u];
        }
    }
    memmove(past, past + features, (size_t)((kept - 1) * features) * sizeof *past);
    memcpy(past + (kept - 1) * features, x, (size_t)features * sizeof *past);
}
