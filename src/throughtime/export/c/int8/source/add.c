/* y += x 2^bits */
static void add(int32_t *y, const int16_t *x, int count, int bits)
{
    for (int k = 0; k < count; k++) {
        y[k] = saturated((int64_t)y[k] + moved(x[k], bits));
    }
}
