#define MODEL_FINGERPRINT "{FINGERPRINT}"
#define MODEL_FEATURES {FEATURES} /* numbers that the network reads of a row */
#define MODEL_OUTPUTS {OUTPUTS} /* numbers that it puts out, in scaled units */
#define MODEL_HORIZON {HORIZON} /* steps ahead that are forecast */
#define MODEL_QUANTILES {QUANTILES} /* of each: {LEVELS} */
#define MODEL_COVARIATES {COVARIATES} /* other columns that are read */
#define MODEL_KNOWN {KNOWN} /* those of them whose future is known */
#define MODEL_SERIES {SERIES} /* series that training knew */
#define MODEL_POOLED MODEL_SERIES /* stands for any other series */

/* One row, in the data's own units. NAN (of math.h) is a number that is missing. One that lies more
   than a million scales from the middle of its column, or is infinite, counts as a million. */
typedef struct {
    double y; /* {TARGET} */
#if COVARIATES
    double covariates[MODEL_COVARIATES]; /* {COVARIATE_NAMES} */
#endif
#if KNOWN
    /* Of {KNOWN_NAMES}: the values 1 to {HORIZON} steps later. */
    double future[MODEL_KNOWN][MODEL_HORIZON];
#endif
} model_row;

/* What is forecast after a row, in the data's own units: quantiles[k] are those of k + 1 steps
   later, in order. The interval is from the first to the last. */
typedef struct {
    double quantiles[MODEL_HORIZON][MODEL_QUANTILES];
} model_forecast;

/* What became of a row that `model_push` was given. */
typedef enum {
    MODEL_NEXT,      /* it is the next step */
    MODEL_FILLED,    /* steps were missing before it; they were filled as rows without numbers */
    MODEL_RESTARTED, /* it is the first row, or too many steps were missing: the state is fresh */
    MODEL_DUPLICATE, /* dropped: a row of this time has been read */
    MODEL_LATE,      /* dropped: a row of a later time has been read */
    MODEL_OFF_GRID   /* dropped: less than half a step after the row before */
} model_arrival;

/* Everything that one stream remembers. Have as many as there are streams; copy one to fork it,
   write its bytes to keep it. */
typedef struct {
{FIELDS}
    double held[1 + MODEL_COVARIATES]; /* scaled values, in place of ones that are missing */
    double expected;                   /* median that was last forecast for the next step */
    int64_t time;                      /* of the last row that `model_push` read */
    int32_t series;
    int32_t begun; /* whether there is a last row */
} model_state;

/* The series of a name, or MODEL_POOLED. */
int model_series(const char *name);

/* Begin a stream of a series, 0 to MODEL_SERIES - 1 or MODEL_POOLED: it sets the scale. */
void model_init(model_state *state, int series);

/* Forget all rows: the next one is a first row. */
void model_reset(model_state *state);

/* Read the row of the next step, and forecast what follows. A stream gets its rows by this or by
   `model_push`, not by both. */
void model_step(model_state *state, const model_row *row, model_forecast *forecast);

/* The same for `count` rows in a row, with a forecast after each. */
void model_step_n(model_state *state, size_t count, const model_row *rows,
                  model_forecast *forecasts);

/* Read a row of a time: {TIME_UNITS}.
   Steps that are missing are filled, as in training, and a row that can't be put in order is
   dropped, which leaves state and forecast as they were. `expected`, where it is not NULL, becomes
   the median that was forecast for this row, or NAN. */
model_arrival model_push(model_state *state, int64_t time, const model_row *row,
                         model_forecast *forecast, double *expected);

/* The median of a step ahead: 0 for the next step, to MODEL_HORIZON - 1. */
double model_median(const model_forecast *forecast, int ahead);

/* The network alone, in scaled units: MODEL_FEATURES numbers to MODEL_OUTPUTS numbers. */
void model_step_scaled(model_state *state, const float *features, float *outputs);
