/* What a map makes of x for one output. */
static int64_t product(const integer_map *map, int output, const int16_t *x)
{
    const int8_t *row = map->weights + (size_t)output * (size_t)map->inputs;
    products sum = 0;
    for (int k = 0; k < map->inputs; k++) {
        sum += row[k] * x[k];
    }
    return scaled_sum(map, output, sum);
}
