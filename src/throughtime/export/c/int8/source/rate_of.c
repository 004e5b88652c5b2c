/* A rate of 15 bits: (2048 + r % 2048) 2^(r / 2048). */
static int64_t rate_of(int16_t rate)
{
    return (int64_t)(2048 + rate % 2048) << (rate / 2048);
}
