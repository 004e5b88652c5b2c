/* x with its magnitude cut off at `bound`; NaN stays NaN. Whole numbers are compared, because a
   compiler makes vector instructions of that at any level, and not of comparisons of floats. */
static inline float bounded(float x, float bound)
{
    const uint32_t infinity = 0x7f800000u, sign = 0x80000000u;
    const uint32_t size = bits_of(x) & ~sign, most = bits_of(bound);
    const uint32_t cut = size > most ? most : size;
    return from_bits((size > infinity ? size : cut) | (bits_of(x) & sign));
}
