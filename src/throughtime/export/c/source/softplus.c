/* log(1 + exp(x)) = max(x, 0) + log(1 + y) with y = exp(-|x|), and log(1 + y) as the series of
   2 artanh(y / (2 + y)). */
static inline float softplus(float x)
{
    const float y = exponential_of(-magnitude(x));
    const float r = y / (y + 2.0f), square = r * r;
    float series = square * (1.0f / 17) + 1.0f / 15;
    series = series * square + 1.0f / 13;
    series = series * square + 1.0f / 11;
    series = series * square + 1.0f / 9;
    series = series * square + 1.0f / 7;
    series = series * square + 1.0f / 5;
    series = series * square + 1.0f / 3;
    series = series * square + 1.0f;
    return 0.5f * (x + magnitude(x)) + 2.0f * r * series;
}
