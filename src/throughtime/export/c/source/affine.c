/* y = W x + b. The weights are b and then W, by panels of 64 outputs, a row for each input. */
static void affine(float *y, const float *weights, const float *x, int inputs, int outputs)
{
    const float *rows = weights + outputs;
    memcpy(y, weights, (size_t)outputs * sizeof *y);
    for (int first = 0; first < outputs; first += 64) {
        const int width = outputs - first < 64 ? outputs - first : 64;
        rows = product(y + first, rows, x, inputs, width);
    }
}
