/* Turns what the head puts out for a step ahead into quantiles in scaled units: distances from the
   last value, which are learned one by one and may cross, and so are put in order. */
static void scaled_quantiles(float *numbers, float last)
{
    for (int q = 0; q < MODEL_QUANTILES; q++) {
        const float value = numbers[q] + last;
        int place = q;
        for (; place > 0 && numbers[place - 1] > value; place--) {
            numbers[place] = numbers[place - 1];
        }
        numbers[place] = value;
    }
}
