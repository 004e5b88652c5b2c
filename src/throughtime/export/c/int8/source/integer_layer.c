/* A layer of gates, whose sums are in units of 2^-16: those of the first gate, one for each unit,
   then those of the second, and so on. */
typedef struct {
    int units;
    integer_affine from_x;
    integer_map from_h;
} integer_layer;
