static int64_t affine_sum(const integer_affine *maps, int output, const int16_t *x)
{
    return bias_of(maps, output) + product(&maps->map, output, x);
}
