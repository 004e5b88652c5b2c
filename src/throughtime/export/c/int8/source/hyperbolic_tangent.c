/* tanh(x) = 2 sigmoid(2 x) - 1, in units of 2^-30, of x in units of 2^-16. */
static int64_t hyperbolic_tangent(int64_t x)
{
    return 2 * sigmoid(2 * x) - ((int64_t)1 << 30);
}
