/* x sigmoid(x), of x in units of 2^-16. */
static int64_t silu(int64_t x)
{
    return times(sigmoid(x), x);
}
