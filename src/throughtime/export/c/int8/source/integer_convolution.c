/* A convolution: a map for each tap, that of the present input first, and biases in 2^bits of what
   is summed, which is 2^-8 of the units of y. */
typedef struct {
    int inputs, outputs, width, dilation;
    const integer_map *taps;
    const int16_t *biases;
    int bits;
} integer_convolution;
