/* 1 / sqrt(x) of a normal x > 0: a guess from the bits, and Newton's method. */
static inline float inverse_root(float x)
{
    float y = from_bits(0x5f3759dfu - (bits_of(x) >> 1));
    y = y * (1.5f - 0.5f * x * y * y);
    y = y * (1.5f - 0.5f * x * y * y);
    return y * (1.5f - 0.5f * x * y * y);
}
