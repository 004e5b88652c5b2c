/* The selective state space, N states for each of H units: u = W x, d = softplus(V u + b);
   h[k][n] = (turn exp(-d[k] rate[k][n]) + 1 - turn) h[k][n] + d[k] u[k] B[n]; turn is 1, or 2
   where the state can be turned around;
   y[k] = sum of C[n] h[k][n] + skip[k] u[k]. The maps are as of `affine`: from x to u, from u to
   the few numbers that V is made of and on to d, from u to B, and from u to C. */
typedef struct {
    int inputs, units, states, rank;
    const float *enter, *narrow, *widen, *write, *read, *rate, *skip;
} selective_layer;

static void selective(const selective_layer *layer, float turn, float *y, float *h, const float *x)
{
    float u[MOST_UNITS], few[MOST_RANK], into[MOST_STATES], out[MOST_STATES];
    affine(u, layer->enter, x, layer->inputs, layer->units);
    affine(few, layer->narrow, u, layer->units, layer->rank);
    affine(y, layer->widen, few, layer->rank, layer->units); /* y has room for d until it is known */
    affine(into, layer->write, u, layer->units, layer->states);
    affine(out, layer->read, u, layer->units, layer->states);
    const float *rate = layer->rate;
    for (int k = 0; k < layer->units; k++) {
        const float d = softplus(y[k]), enters = d * u[k];
        float sum = layer->skip[k] * u[k];
        for (int n = 0; n < layer->states; n++) {
            const float keep = turn * exponential_of(-d * rate[n]) + (1.0f - turn);
            h[n] = keep * h[n] + enters * into[n];
        }
        for (int n = 0; n < layer->states; n++) {
            sum += out[n] * h[n];
        }
        y[k] = sum;
        h += layer->states;
        rate += layer->states;
    }
}
