/* What a block starts from: a map of x, in units of 2^-16. */
static void lifted(int32_t *y, const integer_affine *maps, const int16_t *x, int count)
{
    for (int k = 0; k < count; k++) {
        y[k] = saturated(affine_sum(maps, k, x));
    }
}
