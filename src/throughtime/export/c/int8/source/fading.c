/* exp(-x), in units of 2^-30, of x >= 0 in units of 2^-16. */
static int64_t fading(int64_t x)
{
    const int64_t most = 0x1fffff;
    return decay_of((x > most ? most : x) * 1024);
}
