/* The minimal LSTM: f, i = sigmoid(W x + b), c = V x + d, h = (f h + i c) / (f + i).
   With sigmoid(x) = exp(min(x, 0)) / (1 + exp(-|x|)) the quotient is right where both gates are shut.
   A sum times 2^up is in units of h, and h / 2^down in those of y. */
static void min_lstm(const integer_affine *gates, int units, int up, int down, int16_t *y,
                     int32_t *h, const int16_t *x)
{
    const int64_t one = (int64_t)1 << 30;
    for (int u = 0; u < units; u++) {
        const int64_t f = saturated(affine_sum(gates, u, x));
        const int64_t i = saturated(affine_sum(gates, units + u, x));
        const int64_t c = moved(saturated(affine_sum(gates, 2 * units + u, x)), up);
        const int64_t apart = (i < 0 ? i : 0) - (f < 0 ? f : 0);
        /* Both are the gate times the same number. */
        int64_t forget = one + fading(i < 0 ? -i : i);
        int64_t enter = one + fading(f < 0 ? -f : f);
        if (apart < 0) {
            enter = times(fading(-apart), enter);
        } else {
            forget = times(fading(apart), forget);
        }
        h[u] = (int32_t)(c + times(portion(forget, enter), h[u] - c));
    }
    narrow(y, h, units, down);
}
