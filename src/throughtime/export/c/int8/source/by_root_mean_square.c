/* Divides values by their root mean square: from units of 2^-bits to those of 2^-16. The mean of
   squares has epsilon added, in units of 2^-40. */
static void by_root_mean_square(int32_t *values, int count, int bits, int64_t epsilon)
{
    int32_t most = 0; /* has the highest bit of any */
    for (int u = 0; u < count; u++) {
        most |= values[u] < 0 ? -values[u] : values[u];
    }
    /* Squares of 15 bits, and no finer than epsilon asks for. */
    int down = bits > 23 ? bits - 23 : 0;
    while (most >> down > INT16_MAX) {
        down++;
    }
    int64_t sum = 0;
    for (int u = 0; u < count; u++) {
        values[u] = (int32_t)rounded(values[u], down);
        sum += (int64_t)values[u] * values[u];
    }
    const int apart = 40 - 2 * (bits - down);
    const int64_t added = apart > 0 ? epsilon >> apart : epsilon << -apart;
    sum = sum / count + added;
    const int64_t inverse = ((int64_t)1 << 50) / whole_root((sum > 0 ? sum : 1) << 30);
    for (int u = 0; u < count; u++) {
        values[u] = saturated(rounded(values[u] * inverse, 19));
    }
}
