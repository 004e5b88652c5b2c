/* A layer whose gates are normalised sums, of x and of h each by itself. */
typedef struct {
    int units;
    integer_map from_x, from_h;
    integer_norm of_x, of_h;
} normalised_layer;
