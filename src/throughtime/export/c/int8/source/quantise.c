/* Numbers as 16 bits have them, after a multiplication by a power of two: to the nearest whole
   number, halves away from zero, and 0 for NaN. */
static void quantise(int16_t *numbers, const float *features, int count, float scale)
{
    for (int k = 0; k < count; k++) {
        const float value = features[k] * scale;
        const float most = INT16_MAX;
        const float cut = value > most ? most : value < -most ? -most : value;
        numbers[k] = (int16_t)(cut == cut ? cut + (cut < 0.0f ? -0.5f : 0.5f) : 0.0f);
    }
}
