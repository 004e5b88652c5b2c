/* What training by zoneout expects: units that stay as they were for a share of the steps. */
static void zoneout(int32_t *after, const int32_t *before, int count, int64_t share)
{
    for (int u = 0; u < count; u++) {
        after[u] = (int32_t)(after[u] + times(share, (int64_t)before[u] - after[u]));
    }
}
