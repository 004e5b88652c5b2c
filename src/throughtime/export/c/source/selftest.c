/* Runs the model over what was recorded when it was trained, and compares: lanes side by side,
   again after a reset, and many steps in one call. Prints the largest error; the exit code is 0
   where all is well. */
#include <math.h>
#include <stdio.h>

#include "model.h"

#define TOLERANCE 1e-5
#define OUTPUTS_TOLERANCE {OUTPUTS_TOLERANCE}

{VECTORS}
static double largest = 0.0;
static const char *wrong = NULL;
static int wrong_step = 0;

static void compare(double got, double wanted, double tolerance, const char *what, int step)
{
    const double size = wanted < 0 ? -wanted : wanted;
    const double apart = (got > wanted ? got - wanted : wanted - got) / (1 + size);
    if (!(apart <= tolerance) && wrong == NULL) {
        wrong = what;
        wrong_step = step;
    }
    largest = apart > largest ? apart : largest;
}

static void compare_outputs(const float *got, int lane, int t, const char *what)
{
    const float *wanted = outputs + (lane * STEPS + t) * WIDE;
    for (int j = 0; j < WIDE; j++) {
        compare(got[j], wanted[j], OUTPUTS_TOLERANCE, what, t);
    }
}

static void step(model_state *state, int lane, int t, const char *what)
{
    float got[WIDE];
#if FORECAST
    model_step_scaled(state, inputs + (lane * STEPS + t) * MODEL_FEATURES, got);
#endif
#if LANGUAGE
    model_step(state, inputs[lane * STEPS + t], got);
#endif
    compare_outputs(got, lane, t, what);
}

static void run_lanes(void)
{
    static model_state states[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        model_init(states + lane{POOLED});
    }
    for (int t = 0; t < STEPS; t++) {
        for (int lane = 0; lane < LANES; lane++) {
            if (t < lengths[lane]) {
                step(states + lane, lane, t, "a step of some lanes");
            }
        }
    }
    for (int lane = 0; lane < LANES; lane++) {
        model_reset(states + lane);
        step(states + lane, lane, 0, "a step after a reset");
    }
}
#if FORECAST

static void run_rows(void)
{
    static model_state state;
    static model_forecast forecasts[ROWS];
    model_init(&state, model_series(SERIES_NAME));
    model_step_n(&state, ROWS, rows, forecasts);
    for (int t = 0; t < ROWS; t++) {
        for (int j = 0; j < MODEL_HORIZON * MODEL_QUANTILES; j++) {
            const double got = forecasts[t].quantiles[j / MODEL_QUANTILES][j % MODEL_QUANTILES];
            const double wanted = quantiles[t * MODEL_HORIZON * MODEL_QUANTILES + j];
            compare((got - CENTER) / SPREAD, (wanted - CENTER) / SPREAD, TOLERANCE,
                    "a forecast of a row", t);
        }
    }
}
#endif
#if LANGUAGE

static void run_rows(void)
{
    static model_state state;
    static float logits[STEPS * MODEL_SYMBOLS];
    model_init(&state);
    model_step_n(&state, (size_t)lengths[0], inputs, logits);
    for (int t = 0; t < lengths[0]; t++) {
        compare_outputs(logits + t * WIDE, 0, t, "many steps in one call");
    }
    for (int symbol = 0; symbol < MODEL_SYMBOLS; symbol++) {
        compare(model_symbol(model_code_point(symbol)), symbol, 0.0, "the vocabulary", symbol);
    }
}
#endif

int main(void)
{
    run_lanes();
    run_rows();
    if (wrong != NULL) {
        printf("FAILED: %s, first at %d; largest error %.2g\n", wrong, wrong_step, largest);
        return 1;
    }
    printf("ok: largest error %.2g in %d lanes of %d steps\n", largest, LANES, STEPS);
    return 0;
}
