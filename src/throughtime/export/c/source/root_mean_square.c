/* 1 / sqrt(mean of values^2 + 1e-6) */
static float root_mean_square(const float *values, int count)
{
    float sum = 0.0f;
    for (int u = 0; u < count; u++) {
        sum += values[u] * values[u];
    }
    return inverse_root(sum / (float)count + 1e-6f);
}
