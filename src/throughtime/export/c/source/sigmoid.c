/* 1 / (1 + exp(-x)) */
static inline float sigmoid(float x)
{
    const exponential_parts e = exponential(bounded(-x, 87.0f));
    return 1.0f / (e.power * (1.0f + e.rest) + 1.0f);
}
