/* The network at the end of a residual block: y += W_3 (silu(W_1 x) W_2 x), y in units of 2^-16.
   `wide` has the rows of W_1 and then those of W_2; what W_3 reads is in units of 2^-bits. */
static void gated_network(const integer_map *wide, const integer_map *narrower, int bits,
                          int16_t *shown, int32_t *y, const int16_t *x)
{
    const int width = narrower->inputs;
    for (int u = 0; u < width; u++) {
        const int64_t share = silu(saturated(product(wide, u, x)));
        shown[u] = narrowed(share * saturated(product(wide, width + u, x)), 32 - bits);
    }
    for (int k = 0; k < wide->inputs; k++) {
        y[k] = saturated(y[k] + product(narrower, k, shown));
    }
}
