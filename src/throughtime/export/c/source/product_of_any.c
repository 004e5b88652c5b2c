/* The same with rows of any width that there is in this model. */
static const float *product(float *sums, const float *rows, const float *x, int count, int width)
{
    switch (width) {
{CASES}
    default:
        return product_{WIDEST}(sums, rows, x, count);
    }
}
