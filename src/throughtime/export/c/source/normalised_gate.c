/* The shares of one gate: what x adds to it, and what h adds to it. */
static void normalised_gate(const normalised_layer *layer, int gate, float *from_x, float *from_h,
                            const float *h, const float *x)
{
    const size_t units = (size_t)layer->units, inputs = (size_t)layer->inputs;
    const size_t of_x = units * (inputs + 1), of_h = units * (units + 1);
    const float *weights = layer->weights + (size_t)gate * (of_x + of_h + 4 * units);
    const float *gains = weights + of_x + of_h;
    affine(from_x, weights, x, layer->inputs, layer->units);
    affine(from_h, weights + of_x, h, layer->units, layer->units);
    normalise(from_x, layer->units, gains, gains + units);
    normalise(from_h, layer->units, gains + 2 * units, gains + 3 * units);
}
