/* Puts x behind the `kept` inputs that are there, and forgets the oldest. */
static void remember(int16_t *past, int kept, const int16_t *x, int inputs)
{
    memmove(past, past + inputs, (size_t)((kept - 1) * inputs) * sizeof *past);
    memcpy(past + (kept - 1) * inputs, x, (size_t)inputs * sizeof *past);
}
