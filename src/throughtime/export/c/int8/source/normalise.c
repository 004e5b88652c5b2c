/* gain (values - mean) / deviation + bias, in units of 2^-16. */
static void normalise(int32_t *values, int count, const integer_norm *norm, int first)
{
    centre(values, count);
    by_root_mean_square(values, count, norm->bits, 10995116); /* 1e-5 */
    for (int u = 0; u < count; u++) {
        const int64_t bias = norm->biases[first + u] * ((int64_t)1 << norm->bias_bits);
        const int64_t share = (int64_t)values[u] * norm->gains[first + u];
        values[u] = saturated(rounded(share, norm->gain_bits) + bias);
    }
}
