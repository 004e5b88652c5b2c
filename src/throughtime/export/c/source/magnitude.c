/* |x| */
static inline float magnitude(float x)
{
    return from_bits(bits_of(x) & 0x7fffffffu);
}
