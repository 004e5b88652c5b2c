/* exp(x), with |x| cut off at 87, where a float ends. */
static inline float exponential_of(float x)
{
    const exponential_parts e = exponential(bounded(x, 87.0f));
    return e.power + e.power * e.rest;
}
