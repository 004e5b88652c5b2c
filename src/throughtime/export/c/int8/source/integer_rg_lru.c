/* A real-gated recurrent unit: `enter` gives u in 2^-8 of its units, `gates` reads it, `rates` are
   -log(a) where r is 1, in units of 2^-26. u times 2^up is in units of h, h / 2^down in those of y. */
typedef struct {
    int units, up, down;
    integer_affine enter, gates;
    const int *rates;
} integer_rg_lru;
