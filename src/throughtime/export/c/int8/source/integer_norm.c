/* Gains in units of 2^-gain_bits, and biases in units of 2^bias_bits of what they are added to. What
   is normalised comes in units of 2^-bits. */
typedef struct {
    const int16_t *gains, *biases;
    int gain_bits, bias_bits, bits;
} integer_norm;
