/* Outputs of a map without biases that are counted in 2^-8 of the units of y. */
static void map_signal(int16_t *y, const integer_map *map, const int16_t *x, int count)
{
    for (int k = 0; k < count; k++) {
        y[k] = narrowed(product(map, k, x), 8);
    }
}
