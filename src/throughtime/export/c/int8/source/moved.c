/* value * 2^bits, for bits of either sign. */
static int32_t moved(int64_t value, int bits)
{
    return saturated(bits < 0 ? rounded(value, -bits) : value * ((int64_t)1 << bits));
}
