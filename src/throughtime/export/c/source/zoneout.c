/* What training by zoneout expects: units that stay as they were for a share of the steps. */
static void zoneout(float *after, const float *before, int count, float share)
{
    for (int u = 0; u < count; u++) {
        after[u] = share * before[u] + (1.0f - share) * after[u];
    }
}
