/* A convolution of each feature by itself: y = b + the sum of w_k x_(t - k dilation). Of the map the
   weights are those of tap 0 for each feature, then those of tap 1, and so on; `past` has the last
   (width - 1) dilation inputs, oldest first. */
static void depthwise_convolution(const integer_affine *maps, int dilation, int features,
                                  int16_t *y, int16_t *past, const int16_t *x)
{
    const int width = maps->map.inputs, kept = (width - 1) * dilation;
    for (int u = 0; u < features; u++) {
        const int8_t *weight = maps->map.weights + u;
        products sum = weight[0] * x[u];
        for (int k = 1; k < width; k++) {
            sum += weight[k * features] * past[(kept - k * dilation) * features + u];
        }
        y[u] = narrowed(bias_of(maps, u) + scaled_sum(&maps->map, u, sum), 8);
    }
    remember(past, kept, x, features);
}
