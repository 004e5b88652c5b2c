/* value / 2^bits, to the nearest whole number; halves go up. */
static int64_t rounded(int64_t value, int bits)
{
    return (value + ((int64_t)1 << bits >> 1)) >> bits;
}
