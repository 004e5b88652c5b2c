/* exp(x) as power * (1 + rest), where power is a power of two and |rest| < 0.42, for |x| <= 87.
   x = n log 2 + r with |r| <= log(2) / 2. Adding 1.5 * 2^23 rounds to a whole number, and leaves it
   in the lowest bits. The polynomial's largest error relative to exp is 4e-9. */
typedef struct {
    float power, rest;
} exponential_parts;

static inline exponential_parts exponential(float x)
{
    const float shift = 12582912.0f;
    const float shifted = x * 1.44269504088896341f + shift;
    const float n = shifted - shift;
    const float r = (x - n * 0.693359375f) + n * 2.12194440054690583e-4f;
    float q = r * 0x1.6a2434p-10f + 0x1.1239e2p-7f;
    q = q * r + 0x1.5558f2p-5f;
    q = q * r + 0x1.555492p-3f;
    q = q * r + 0x1.fffffcp-2f;
    exponential_parts parts;
    parts.power = from_bits((bits_of(shifted) + 127u) << 23);
    parts.rest = r + (r * r) * q;
    return parts;
}
