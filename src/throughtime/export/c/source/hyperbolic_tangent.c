/* tanh(x) = m / (m + 2) with m = exp(2 x) - 1, which loses no digits near zero. */
static inline float hyperbolic_tangent(float x)
{
    const exponential_parts e = exponential(2.0f * bounded(x, 20.0f));
    const float m = (e.power - 1.0f) + e.power * e.rest;
    return m / (m + 2.0f);
}
