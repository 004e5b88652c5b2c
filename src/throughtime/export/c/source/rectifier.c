/* max(x, 0) */
static inline float rectifier(float x)
{
    return 0.5f * (x + magnitude(x));
}
