/* The LSTM with normalised gates and cell: h = o tanh(norm(c)). Gates are i, f, g, o. */
static void layer_norm_lstm(const normalised_layer *layer, const float *of_cell, float *h, float *c,
                            const float *x)
{
    float a[MOST_UNITS], b[MOST_UNITS], i[MOST_UNITS];
    normalised_gate(layer, 0, a, b, h, x);
    for (int u = 0; u < layer->units; u++) {
        i[u] = sigmoid(a[u] + b[u]);
    }
    normalised_gate(layer, 1, a, b, h, x);
    for (int u = 0; u < layer->units; u++) {
        c[u] *= sigmoid(a[u] + b[u]);
    }
    normalised_gate(layer, 2, a, b, h, x);
    for (int u = 0; u < layer->units; u++) {
        c[u] += i[u] * hyperbolic_tangent(a[u] + b[u]);
        i[u] = c[u];
    }
    normalise(i, layer->units, of_cell, of_cell + layer->units);
    normalised_gate(layer, 3, a, b, h, x);
    for (int u = 0; u < layer->units; u++) {
        h[u] = sigmoid(a[u] + b[u]) * hyperbolic_tangent(i[u]);
    }
}
