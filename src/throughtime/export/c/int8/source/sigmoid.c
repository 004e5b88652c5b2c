/* 1 / (1 + exp(-x)), in units of 2^-30, of x in units of 2^-16. */
static int64_t sigmoid(int64_t x)
{
    const int64_t one = (int64_t)1 << 30;
    const int64_t shut = portion(fading(x < 0 ? -x : x), one);
    return x < 0 ? shut : one - shut;
}
