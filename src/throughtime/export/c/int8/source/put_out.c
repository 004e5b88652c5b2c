/* Outputs of the head, as numbers in place of units of 2^-16. */
static void put_out(float *outputs, const integer_affine *maps, int first, int count,
                    const int16_t *y)
{
    for (int k = 0; k < count; k++) {
        outputs[k] = (float)saturated(affine_sum(maps, first + k, y)) * (1.0f / 65536.0f);
    }
}
