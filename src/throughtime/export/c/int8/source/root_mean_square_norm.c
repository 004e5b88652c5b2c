/* y = gain x / rms(x), of x in units of 2^-16; the product with a gain / 2^down is in units of y. */
static void root_mean_square_norm(int16_t *y, const int16_t *gains, int down, const int32_t *x,
                                  int count)
{
    int32_t normed[MOST_UNITS];
    memcpy(normed, x, (size_t)count * sizeof *x);
    by_root_mean_square(normed, count, 16, 1099512); /* 1e-6 */
    for (int u = 0; u < count; u++) {
        y[u] = narrowed((int64_t)normed[u] * gains[u], down);
    }
}
