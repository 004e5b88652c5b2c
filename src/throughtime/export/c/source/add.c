/* y += x */
static void add(float *y, const float *x, int count)
{
    for (int u = 0; u < count; u++) {
        y[u] += x[u];
    }
}
