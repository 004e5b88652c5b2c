static double scaled(double value, const double *scale)
{
    return (value - scale[0]) / scale[1];
}

static float feature(double value)
{
    const double most = 1e6; /* one absurd row must not end a state */
    return (float)(value > most ? most : value < -most ? -most : value);
}

/* What is held in `place` after a scaled value came: it, or where it is NaN the one before. */
static double hold(model_state *state, int place, double value)
{
    if (value == value) {
        state->held[place] = value;
    }
    return state->held[place];
}

/* What the network reads of a row: the target, whether it was there, the covariates, and of each
   covariate whose future is known what is said of it, or else its present. */
static void read_row(model_state *state, const model_row *row, float *features)
{
    const double y = scaled(row->y, scales[state->series]);
    *features++ = feature(hold(state, 0, y));
    *features++ = y == y ? 1.0f : 0.0f;
#if COVARIATES
    for (int i = 0; i < MODEL_COVARIATES; i++) {
        const double value = scaled(row->covariates[i], covariate_scales[i]);
        *features++ = feature(hold(state, 1 + i, value));
    }
#endif
#if KNOWN
    for (int i = 0; i < MODEL_KNOWN; i++) {
        const int covariate = known[i];
        for (int k = 0; k < MODEL_HORIZON; k++) {
            const double value = scaled(row->future[i][k], covariate_scales[covariate]);
            *features++ = feature(value == value ? value : state->held[1 + covariate]);
        }
    }
#endif
}
