/* A row without numbers, so many steps before another, which says what is known to follow. */
static model_row filler_before(const model_row *row, int steps)
{
    const double missing = not_a_number();
    model_row filler;
    filler.y = missing;
#if COVARIATES
    for (int i = 0; i < MODEL_COVARIATES; i++) {
        filler.covariates[i] = missing;
    }
#endif
#if KNOWN
    for (int i = 0; i < MODEL_KNOWN; i++) {
        for (int k = 0; k < MODEL_HORIZON; k++) {
            filler.future[i][k] = missing;
            if (k == steps - 1) {
                filler.future[i][k] = row->covariates[known[i]];
            } else if (k >= steps) {
                filler.future[i][k] = row->future[i][k - steps];
            }
        }
    }
#endif
#if UNKNOWN
    (void)row;
    (void)steps;
#endif
    return filler;
}
