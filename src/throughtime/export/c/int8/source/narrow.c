static void narrow(int16_t *y, const int32_t *values, int count, int bits)
{
    for (int u = 0; u < count; u++) {
        y[u] = narrowed(values[u], bits);
    }
}
