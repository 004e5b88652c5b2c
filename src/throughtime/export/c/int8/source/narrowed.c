/* value / 2^bits as 16 bits have it. */
static int16_t narrowed(int64_t value, int bits)
{
    const int64_t found = rounded(value, bits);
    return (int16_t)(found > INT16_MAX ? INT16_MAX : found < -INT16_MAX ? -INT16_MAX : found);
}
