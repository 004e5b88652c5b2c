/* A sum of products by the scale of its output. */
static int64_t scaled_sum(const integer_map *map, int output, int64_t sum)
{
    const int scale = map->scales[output];
    return rounded(sum * ((16 + scale % 16) << 12), map->shift - scale / 16);
}
