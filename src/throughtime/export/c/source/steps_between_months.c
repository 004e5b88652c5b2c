/* The nearest whole number of steps of {MONTHS} months between two times. */
static uint64_t steps_between(int64_t earlier, int64_t later)
{
    return (uint64_t)(month_of(later) - month_of(earlier) + {MONTHS} / 2) / {MONTHS};
}
