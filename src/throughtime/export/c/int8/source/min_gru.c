/* The minimal GRU: z = sigmoid(W x + b), c = V x + d, h = h + z (c - h). A sum times 2^up is in
   units of h, and h / 2^down in those of y. */
static void min_gru(const integer_affine *gates, int units, int up, int down, int16_t *y,
                    int32_t *h, const int16_t *x)
{
    for (int u = 0; u < units; u++) {
        const int64_t z = sigmoid(saturated(affine_sum(gates, u, x)));
        const int64_t c = moved(saturated(affine_sum(gates, units + u, x)), up);
        h[u] = (int32_t)(h[u] + times(z, c - h[u]));
    }
    narrow(y, h, units, down);
}
