/* The shares of one gate: what x adds to it, and what h adds to it. */
static void normalised_gate(const normalised_layer *layer, int gate, int32_t *from_x,
                            int32_t *from_h, const int16_t *h, const int16_t *x)
{
    const int units = layer->units, first = gate * units;
    for (int u = 0; u < units; u++) {
        from_x[u] = saturated(product(&layer->from_x, first + u, x));
        from_h[u] = saturated(product(&layer->from_h, first + u, h));
    }
    normalise(from_x, units, &layer->of_x, first);
    normalise(from_h, units, &layer->of_h, first);
}
