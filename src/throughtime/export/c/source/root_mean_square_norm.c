/* y = gain x / rms(x) */
static void root_mean_square_norm(float *y, const float *gain, const float *x, int count)
{
    const float scale = root_mean_square(x, count);
    for (int u = 0; u < count; u++) {
        y[u] = x[u] * scale * gain[u];
    }
}
