/* A layer whose gates are normalised sums. Of each gate the weights are those of x (as `affine`
   has them, with zeros for b), those of h likewise, and then gain and bias for x and gain and bias
   for h, a number for each unit. */
typedef struct {
    int inputs, units;
    const float *weights;
} normalised_layer;
