/* The same for numbers of 16 bits. */
static void zoneout_of_signal(int16_t *after, const int16_t *before, int count, int64_t share)
{
    for (int u = 0; u < count; u++) {
        after[u] = (int16_t)(after[u] + times(share, before[u] - after[u]));
    }
}
