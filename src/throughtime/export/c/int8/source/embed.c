/* The vector of a symbol: 8-bit numbers by the symbol's own factor. */
static void embed(int16_t *features, const int8_t *row, int factor, int count)
{
    for (int k = 0; k < count; k++) {
        features[k] = (int16_t)(row[k] * factor);
    }
}
