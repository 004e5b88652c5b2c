/* The GRU with normalised gates r, z, n. */
static void layer_norm_gru(const normalised_layer *layer, float *h, const float *x)
{
    float a[MOST_UNITS], b[MOST_UNITS], n[MOST_UNITS];
    normalised_gate(layer, 0, a, b, h, x);
    for (int u = 0; u < layer->units; u++) {
        n[u] = sigmoid(a[u] + b[u]);
    }
    normalised_gate(layer, 2, a, b, h, x);
    for (int u = 0; u < layer->units; u++) {
        n[u] = hyperbolic_tangent(a[u] + n[u] * b[u]);
    }
    normalised_gate(layer, 1, a, b, h, x);
    for (int u = 0; u < layer->units; u++) {
        const float z = sigmoid(a[u] + b[u]);
        h[u] = (1.0f - z) * n[u] + z * h[u];
    }
}
