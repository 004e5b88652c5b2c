/* values = gain (values - mean) / deviation + bias */
static void normalise(float *values, int count, const float *gain, const float *bias)
{
    float mean = 0.0f, variance = 0.0f;
    for (int u = 0; u < count; u++) {
        mean += values[u];
    }
    mean /= (float)count;
    for (int u = 0; u < count; u++) {
        variance += (values[u] - mean) * (values[u] - mean);
    }
    const float scale = inverse_root(variance / (float)count + 1e-5f);
    for (int u = 0; u < count; u++) {
        values[u] = gain[u] * ((values[u] - mean) * scale) + bias[u];
    }
}
