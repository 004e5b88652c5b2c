/* Takes the mean away. */
static void centre(int32_t *values, int count)
{
    int64_t sum = 0;
    for (int u = 0; u < count; u++) {
        sum += values[u];
    }
    const int64_t mean = sum / count;
    for (int u = 0; u < count; u++) {
        values[u] = saturated(values[u] - mean);
    }
}
