/* A linear recurrence of complex states, each turned and shortened by its own factor a at a step:
   h = a h + B x, y = Re(C h) + D x. `read` has room for both parts of all states. */
static void rotation(const integer_rotation *layer, int16_t *y, int16_t *read, int32_t *h,
                     const int16_t *x)
{
    const int states = layer->states;
    int32_t *imaginary = h + states;
    for (int n = 0; n < states; n++) {
        const int64_t a = layer->factors[n], b = layer->factors[states + n];
        const int64_t real = rounded(a * h[n] - b * imaginary[n], 30);
        const int64_t turned = rounded(a * imaginary[n] + b * h[n], 30);
        h[n] = saturated(real + product(&layer->enter, n, x));
        imaginary[n] = saturated(turned + product(&layer->enter, states + n, x));
    }
    narrow(read, h, 2 * states, layer->down);
    for (int d = 0; d < layer->outputs; d++) {
        y[d] = narrowed(product(&layer->leave, d, read) + product(&layer->skip, d, x), 8);
    }
}
