/* A map with biases, which are counted in 2^bits of what the outputs are counted in. */
typedef struct {
    integer_map map;
    const int16_t *biases;
    int bits;
} integer_affine;
