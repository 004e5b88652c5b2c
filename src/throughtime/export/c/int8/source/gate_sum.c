/* The sum of a unit's gate: W x + V h + b. */
static int32_t gate_sum(const integer_layer *layer, int gate, int unit, const int16_t *x,
                        const int16_t *h)
{
    const int output = gate * layer->units + unit;
    return saturated(affine_sum(&layer->from_x, output, x) + product(&layer->from_h, output, h));
}
