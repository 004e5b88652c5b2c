/* Turns what the head puts out for a step ahead into quantiles in scaled units, of a normal
   distribution: its mean, as a distance from the last value, and what the logarithm of its
   deviation is made of, log(1e-3) + softplus(...). */
static void scaled_quantiles(float *numbers, float last)
{
    const float least = -6.9077552789821370521f, most = 13.815510557964274105f;
    const float mean = numbers[0] + last, open = least + softplus(numbers[1] - least);
    const float deviation = exponential_of(open > most ? most : open);
    for (int q = 0; q < MODEL_QUANTILES; q++) {
        numbers[q] = mean + deviation * normal_quantiles[q];
    }
}
