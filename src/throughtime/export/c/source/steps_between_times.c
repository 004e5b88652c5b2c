/* The nearest whole number of steps of {STEP} between two times. */
static uint64_t steps_between(int64_t earlier, int64_t later)
{
    const uint64_t apart = (uint64_t)later - (uint64_t)earlier, step = {SIZE};
    return apart / step + (apart % step >= step - step / 2);
}
