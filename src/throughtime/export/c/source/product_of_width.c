static const float *product_{WIDTH}(float *restrict sums, const float *restrict rows,
                               const float *restrict x, int count)
{
    for (int k = 0; k < count; k++) {
        const float value = x[k];
        for (int j = 0; j < {WIDTH}; j++) {
            sums[j] += value * rows[j];
        }
        rows += {WIDTH};
    }
    return rows;
}
