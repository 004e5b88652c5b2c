static int64_t bias_of(const integer_affine *maps, int output)
{
    return maps->biases[output] * ((int64_t)1 << maps->bits);
}
