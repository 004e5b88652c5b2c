/* log(x) of a normal x > 0: x = 2^n m with m from sqrt(1/2) to sqrt(2), and log(m) as the series of
   2 artanh((m - 1) / (m + 1)). */
static inline float logarithm(float x)
{
    const uint32_t half_root = 0x3f3504f3u; /* the bits of sqrt(1/2) */
    const uint32_t above = bits_of(x) - half_root;
    const float n = (float)((int32_t)above >> 23);
    const float m = from_bits((above & 0x007fffffu) + half_root);
    const float r = (m - 1.0f) / (m + 1.0f), square = r * r;
    float series = square * (1.0f / 9) + 1.0f / 7;
    series = series * square + 1.0f / 5;
    series = series * square + 1.0f / 3;
    series = series * square + 1.0f;
    return n * 0.693147180559945309f + 2.0f * r * series;
}
