int model_series(const char *name)
{
    for (int series = 0; series < MODEL_SERIES; series++) {
        if (strcmp(name, series_names[series]) == 0) {
            return series;
        }
    }
    return MODEL_POOLED;
}

void model_init(model_state *state, int series)
{
    state->series = series >= 0 && series < MODEL_SERIES ? series : MODEL_POOLED;
    model_reset(state);
}

void model_reset(model_state *state)
{
    const int32_t series = state->series;
    memset(state, 0, sizeof *state);
    state->series = series;
    state->expected = not_a_number();
{START}
}

/* Reads a row and makes a step. Returns the last value in scaled units, from which the head's
   outputs are distances. */
static float advance(model_state *state, const model_row *row{OUT_PARAMETER})
{
    float features[MODEL_FEATURES];
    read_row(state, row, features);
    network(state, features{ARGUMENT});
    return features[0];
}

static void make_forecast(model_state *state, float last, model_forecast *forecast{IN_PARAMETER})
{
    const double *scale = scales[state->series];
    for (int k = 0; k < MODEL_HORIZON; k++) {
        float numbers[{MOST}];
#if FLOATING
        affine(numbers, head + k * {HEAD_SIZE}, {Y}, {UNITS}, {EACH});
#endif
#if WHOLE
        put_out(numbers, &head, k * {EACH}, {EACH}, {Y});
#endif
        scaled_quantiles(numbers, last);
        for (int q = 0; q < MODEL_QUANTILES; q++) {
            forecast->quantiles[k][q] = (double)numbers[q] * scale[1] + scale[0];
        }
    }
    state->expected = model_median(forecast, 0);
}

void model_step(model_state *state, const model_row *row, model_forecast *forecast)
{
#if BUFFERED
    {NUMBER} {Y}[{UNITS}];
#endif
    const float last = advance(state, row{ARGUMENT});
    make_forecast(state, last, forecast{ARGUMENT});
}

void model_step_n(model_state *state, size_t count, const model_row *rows,
                  model_forecast *forecasts)
{
    for (size_t t = 0; t < count; t++) {
        model_step(state, rows + t, forecasts + t);
    }
}

/* What becomes of a row of a time, and how many steps are missing before it. */
static model_arrival admit(const model_state *state, int64_t time, uint64_t *missing)
{
    *missing = 0;
    if (!state->begun) {
        return MODEL_RESTARTED;
    }
    if (time <= state->time) {
        return time == state->time ? MODEL_DUPLICATE : MODEL_LATE;
    }
#if REGULAR
    const uint64_t steps = steps_between(state->time, time);
    if (steps == 0) {
        return MODEL_OFF_GRID;
    }
    *missing = steps - 1;
    if (*missing > {MAX_GAP}) {
        return MODEL_RESTARTED;
    }
    return *missing ? MODEL_FILLED : MODEL_NEXT;
#endif
#if IRREGULAR
    return MODEL_NEXT; /* the series has no step: each row is the next one */
#endif
}

model_arrival model_push(model_state *state, int64_t time, const model_row *row,
                         model_forecast *forecast, double *expected)
{
#if BUFFERED
    {NUMBER} {Y}[{UNITS}];
#endif
    uint64_t missing;
    float last = 0.0f;
    const model_arrival arrival = admit(state, time, &missing);
    if (expected != NULL) {
        *expected = not_a_number();
    }
    if (arrival > MODEL_RESTARTED) {
        return arrival;
    }
    if (arrival == MODEL_RESTARTED) {
        model_reset(state);
    }
#if REGULAR
    if (arrival == MODEL_FILLED) {
        /* Steps without numbers before the row; the forecast is that of the last of them. */
        for (int steps = (int)missing; steps > 0; steps--) {
            const model_row filler = filler_before(row, steps);
            last = advance(state, &filler{ARGUMENT});
        }
        make_forecast(state, last, forecast{ARGUMENT});
    }
#endif
    if (expected != NULL) {
        *expected = state->expected;
    }
    last = advance(state, row{ARGUMENT});
    make_forecast(state, last, forecast{ARGUMENT});
    state->time = time;
    state->begun = 1;
    return arrival;
}

double model_median(const model_forecast *forecast, int ahead)
{
    const double *quantiles = forecast->quantiles[ahead];
    return (quantiles[(MODEL_QUANTILES - 1) / 2] + quantiles[MODEL_QUANTILES / 2]) / 2;
}

void model_step_scaled(model_state *state, const float *features, float *outputs)
{
#if BUFFERED
    {NUMBER} {Y}[{UNITS}];
#endif
    network(state, features{ARGUMENT});
#if FLOATING
    for (int k = 0; k < MODEL_HORIZON; k++) {
        affine(outputs + k * {EACH}, head + k * {HEAD_SIZE}, {Y}, {UNITS}, {EACH});
    }
#endif
#if WHOLE
    put_out(outputs, &head, 0, MODEL_OUTPUTS, {Y});
#endif
}
