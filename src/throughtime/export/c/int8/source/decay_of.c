/* exp(-x), in units of 2^-30, of x >= 0 in units of 2^-26: 2^-(n + f) for whole n and f < 1, where
   2^-f is a polynomial. */
static int64_t decay_of(int64_t x)
{
    static const int32_t factors[] = {123394,    -1386885,   10304738, -59591844,
                                      257940802, -744261112, 1073741824};
    const int64_t exponent = (x * 1549082005) >> 26;
    const int64_t f = exponent & 0x3fffffff;
    const int n = (int)(exponent >> 30);
    int64_t power = 0;
    for (int k = 0; k < 7; k++) {
        power = ((power * f) >> 30) + factors[k];
    }
    return n > 31 ? 0 : power >> n;
}
