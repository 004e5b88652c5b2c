/* A share in units of 2^-30, of a value. */
static int64_t times(int64_t share, int64_t value)
{
    return rounded(share * value, 30);
}
