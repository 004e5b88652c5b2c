/* A step length of the selective state space, log(1 + exp(x)), in units of 2^-26, of x in units of
   2^-16: max(x, 0) + log(1 + e) with e = exp(-|x|), where log(1 + e) / e is a polynomial, so that
   short ones are right in proportion too. */
static int32_t step_length(int64_t x)
{
    static const int32_t factors[] = {-9426335,  48304051,  -117062475, 191632949,
                                      -263462598, 357384914, -536851374, 1073741824};
    const int64_t faded = fading(x < 0 ? -x : x);
    int64_t power = 0;
    for (int k = 0; k < 8; k++) {
        power = ((power * faded) >> 30) + factors[k];
    }
    return saturated((x > 0 ? x * 1024 : 0) + rounded(power * faded, 34));
}
