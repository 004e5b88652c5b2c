/* A hierarchically gated network: `bound` and `gains` in units of 2^-30 and 2^-gain_bits. A sum times
   2^up is in units of h, which are 2^-bits; what `leave` reads is in units of 2^-shown_bits, and it
   gives y in 2^-8 of its units. */
typedef struct {
    int units, bits, shown_bits, gain_bits;
    int32_t open; /* 1 - bound */
    integer_affine gates, leave;
    const int16_t *gains;
} integer_hgrn;
