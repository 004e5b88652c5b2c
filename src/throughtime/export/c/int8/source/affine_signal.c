/* Outputs of a map that are counted in 2^-8 of the units of y. */
static void affine_signal(int16_t *y, const integer_affine *maps, const int16_t *x, int count)
{
    for (int k = 0; k < count; k++) {
        y[k] = narrowed(affine_sum(maps, k, x), 8);
    }
}
