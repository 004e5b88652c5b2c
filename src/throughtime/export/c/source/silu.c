/* x sigmoid(x) */
static inline float silu(float x)
{
    return x * sigmoid(x);
}
