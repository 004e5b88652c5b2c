/* A map of 16-bit inputs with 8-bit weights, a row for each output. An output's scale is
   (16 + s % 16) 2^(12 + s / 16), in units of 2^-shift of what the output is counted in. */
typedef struct {
    int inputs, shift;
    const int8_t *weights;
    const uint8_t *scales;
} integer_map;
