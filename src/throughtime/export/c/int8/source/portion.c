/* part / (part + rest), in units of 2^-30, for a sum from 2^30 to 2^32: a division of 32 bits, and
   a step of Newton's. */
static int64_t portion(int64_t part, int64_t rest)
{
    const int64_t whole = part + rest;
    const int64_t guess = (int64_t)(0x80000000u / (uint32_t)(whole >> 16));
    const int64_t error = ((int64_t)1 << 47) - whole * guess;
    const int64_t inverse = guess * 8192 + ((guess * error) >> 34);
    return (part * inverse) >> 30;
}
