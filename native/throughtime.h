/* The CPU kernels' plain C interface: recurrences over whole sequences, one step, linear scans.
 *
 * Shape letters: B lanes, T steps, F features, H units, G gates of the cell. All arrays are row-major
 * and dense unless strides are named. Absent arrays are null pointers. Functions return 0, or 1 when
 * there is not enough memory, or 2 when this machine can't run what was asked for.
 *
 * A "row" is one step of one lane that is there: rows are numbered lane by lane, each lane's steps in
 * order, so there are sum(lengths) of them, or B * T without lengths.
 */
#ifndef THROUGHTIME_H
#define THROUGHTIME_H

#include <stdint.h>

#if defined(_WIN32)
#define TT_API __declspec(dllexport)
#else
#define TT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum tt_cell { TT_RNN_TANH = 0, TT_RNN_RELU = 1, TT_LSTM = 2, TT_GRU = 3 };
enum tt_numbers { TT_FLOAT32 = 0, TT_BFLOAT16 = 1 }; /* what is multiplied; sums are float32 */

/* A classic cell: its sizes and its parameters, float32, in torch's layout and order of gates. */
typedef struct {
    int32_t cell;              /* tt_cell */
    int32_t numbers;           /* tt_numbers */
    int64_t features, units;   /* F, H */
    const float *weight_ih;    /* (G*H, F) */
    const float *weight_hh;    /* (G*H, H) */
    const float *bias_ih;      /* (G*H,) or null */
    const float *bias_hh;      /* (G*H,) or null */
} tt_layer;

/* Sequences, and what forward computes from them and keeps for backward. "stored" is float, or
 * bfloat16 where `numbers` says so. The buffers at the end are all there or all null. */
typedef struct {
    tt_layer layer;
    int64_t threads;           /* how many may be used, 1 or more */
    int64_t lanes, steps;      /* B, T */
    const int64_t *lengths;    /* (B,) or null */
    const uint8_t *resets;     /* (B, T) or null */
    const float *x;            /* (B, T, F) */
    const float *h, *c;        /* (B, H): the state before step 0; c of an LSTM */
    const float *h_restart, *c_restart; /* (B, H): the state after a reset; with resets */
    float *y;                  /* (B, T, H), zero where a step is not there */
    float *h_end, *c_end;      /* (B, H) */
    void *gates;               /* (rows, slots*H) stored: 1 slot of an RNN, 4 of LSTM and GRU */
    float *c_before;           /* (rows, H), of an LSTM: what each step started from */
} tt_sequence;

/* What backward is given and what it computes, beside the sequence it is of (whose ends it does not
 * use). It overwrites `gates`. The gradients of weights are like the weights, all there or all null;
 * those of biases are always computed. */
typedef struct {
    const float *dy;           /* (B, T, H) or null for zeros */
    const float *dh_end, *dc_end; /* (B, H) or null for zeros */
    float *dx;                 /* (B, T, F) or null when not wanted */
    float *dh, *dc;            /* (B, H) */
    float *dh_restart, *dc_restart; /* (B, H), with resets */
    float *dweight_ih, *dweight_hh; /* (G*H, F) and (G*H, H), or null when not wanted */
    float *dbias_ih, *dbias_hh; /* (G*H,) */
} tt_gradients;

/* A diagonal linear recurrence, h_t = a_t h_{t-1} + b_t elementwise, and its results. Complex
 * numbers are pairs of floats, real and imaginary; sizes and strides count numbers. A stride of 0
 * serves what is the same for all steps or lanes. */
typedef struct {
    int32_t is_complex;        /* 0 or 1 */
    int64_t threads;           /* how many may be used, 1 or more */
    int64_t lanes, steps, size; /* B, T, N */
    const int64_t *lengths;    /* (B,) or null */
    const uint8_t *resets;     /* (B, T) or null */
    const float *a, *b;        /* (B, T, N), dense along N; backward does not use b */
    int64_t a_lane, a_step, b_lane, b_step; /* their strides */
    const float *state;        /* (B, N): before step 0 */
    const float *restart;      /* (B, N): what a reset goes to; with resets */
    float *h;                  /* (B, T, N), zero where a step is not there; backward reads it */
    float *end;                /* (B, N): after the last step that is there; not of backward */
} tt_linear;

/* What backward is given and what it computes, beside the recurrence that it is of. */
typedef struct {
    const float *dh;           /* (B, T, N) or null for zeros */
    const float *dend;         /* (B, N) or null for zeros */
    float *da, *db;            /* (B, T, N), zero where a step is not there */
    float *dstate;             /* (B, N) */
    float *drestart;           /* (B, N) with resets, null without */
} tt_linear_gradients;

/* A variant of a classic cell: its recurrence over inputs that were multiplied before. The state h
 * has P numbers, which are H without a projection; c has C, which are H, or 3 H of an sLSTM (its c, n
 * and m, one after the other), or none. Where `gain` is there, the state's share of each
 * gate is normalised over the gate's units (zero mean, unit variance), times gain, plus bias.
 *
 * What is random is a function of a number for each step and of the unit: `drop` says which of h
 * are zero where they are multiplied, `zone_h` and `zone_c` which of a state stay as they were. A
 * unit is chosen where its hash lies below the threshold. Without `zone_*`, the states move by what
 * is expected: the share `zoneout` of what they were stays. */
enum tt_variant_cell {
    TT_VARIANT_TANH = 0, TT_VARIANT_RELU = 1, TT_VARIANT_LSTM = 2, TT_VARIANT_COUPLED = 3,
    TT_VARIANT_GRU = 4, TT_VARIANT_SLSTM = 5
};

typedef struct {
    int32_t cell;              /* tt_variant_cell */
    int32_t drop_below, zone_below; /* thresholds of the hashes */
    float drop_scale, zoneout; /* what is not dropped is times this; the share that stays */
    int64_t threads;           /* how many may be used, 1 or more */
    int64_t lanes, steps;      /* B, T */
    int64_t units, outputs;    /* H, P */
    const int64_t *lengths;    /* (B,) or null */
    const uint8_t *resets;     /* (B, T) or null */
    const float *enter;        /* (B, T, G*H): the input's share of all gates; G is 3 if coupled */
    const float *weight;       /* (G*H, P) */
    const float *bias, *gain;  /* (G*H,) or null */
    const float *cell_gain, *cell_bias; /* (H,) or null: c is read normalised */
    const float *peepholes;    /* (3, H) of i, f, o, or null */
    const float *project;      /* (P, H) or null */
    const int32_t *drop, *zone_h, *zone_c; /* (B, T) or null */
    const float *h, *c;        /* (B, P), (B, C): the state before step 0 */
    const float *h_restart, *c_restart; /* the same after a reset; with resets */
    float *y;                  /* (B, T, P), zero where a step is not there */
    float *h_end, *c_end;      /* (B, P), (B, C) */
    /* Kept for backward, all there or all null; not written where a step is not there, but hidden. */
    float *slots;              /* (B, T, S*H) */
    float *normal;             /* (B, T, G*H + G) with gain */
    float *c_before;           /* (B, T, C) */
    float *hidden;             /* (B, T, P): h as it was multiplied, zero where a step is not there */
} tt_variant;

/* What backward is given and what it computes; rows that are not there are zero. */
typedef struct {
    const float *dy;           /* (B, T, P) or null for zeros */
    const float *dh_end, *dc_end; /* (B, P), (B, C) or null for zeros */
    float *denter;             /* (B, T, G*H) */
    float *dsums;              /* (B, T, G*H): of the state's share before it is normalised */
    float *doutput, *output;   /* (B, T, P), (B, T, H) with a projection: its gradient, its input */
    float *dh, *dc, *dh_restart, *dc_restart;
    float *dbias, *dgain;      /* (G*H,) each; the latter with gain */
    float *dcell_gain, *dcell_bias; /* (H,) with cell_gain */
    float *dpeepholes;         /* (3, H) with peepholes */
} tt_variant_gradients;

/* How the coefficients of a linear recurrence follow from the pre-activations of its gates, and what
 * these are, in their order in a row of W. gated_units.h and selective.h say how. */
enum tt_gates {
    TT_MIN_GRU = 0,   /* z, c */
    TT_MIN_LSTM = 1,  /* f, i, c */
    TT_RG_LRU = 2,    /* r, i, u; one constant a unit */
    TT_ROTATION = 3,  /* b, real and imaginary; a, two constants a unit */
    TT_HGRN = 4,      /* f, c, g; one constant a unit; reads out */
    TT_SELECTIVE = 5  /* H step lengths, H inputs, N B, N C; N + 1 constants a unit; reads out */
};

/* A gated linear recurrence of H units with S states each, and its results. Whatever a unit has many
 * of lies in planes: (S, H) is the first state of every unit, then the second. */
typedef struct {
    int32_t gates;             /* tt_gates */
    float scale;               /* eigenvalues are scale * keep + 1 - scale */
    float bound, epsilon;      /* of TT_HGRN the least that is kept; below a square root */
    int64_t threads;           /* how many may be used, 1 or more */
    int64_t lanes, steps, size; /* B, T, H */
    int64_t states;            /* S */
    int64_t features, width;   /* F, W; F is W where there is no weight */
    int64_t outputs;           /* D, with leave_weight */
    int64_t shares;            /* how many parts of it backward adds up apart, at most B */
    const int64_t *lengths;    /* (B,) or null */
    const uint8_t *resets;     /* (B, T) or null */
    const float *x;            /* (B, T, F): features, or the rows themselves */
    const float *weight;       /* (F + 1, W), the last for the constant 1; or null */
    const float *constants;    /* (planes, H) */
    const float *leave_weight; /* of TT_HGRN: (D, H), a linear map of what is read out; or null */
    const float *leave_bias;   /* (D,) or null */
    const float *state;        /* (B, S, H): before step 0 */
    const float *restart;      /* (B, S, H): what a reset goes to; with resets */
    float *y;                  /* (B, T, S, H), the states; (B, T, H), or D for H, where it reads out */
    float *kept;               /* (B, T, H) of TT_HGRN, (B, T / 8 + 7, S, H) of TT_SELECTIVE */
    float *end;                /* (B, S, H): after the last step that is there; not of backward */
} tt_gated;

/* What backward is given and what it computes, beside the recurrence that it is of. */
typedef struct {
    const float *dy;           /* like y, or null for zeros */
    const float *dend;         /* (B, S, H) or null for zeros */
    float *dx;                 /* (B, T, F), zero where a step is not there */
    float *dweight;            /* (B, F + 1, W): each lane's share; or null */
    float *dconstants;         /* (B, planes, H): each lane's share */
    float *dleave_weight;      /* (shares, D, H), with leave_weight */
    float *dleave_bias;        /* (shares, D) */
    float *dstate;             /* (B, S, H) */
    float *drestart;           /* (B, S, H) with resets, null without */
} tt_gated_gradients;

/* Which instruction set is in use ("amx", "avx512_bf16", "avx512", "avx2" or "portable"); another
 * returns 2 where the machine has it not. Choosing is for tests and is not safe beside other calls. */
/* The number of this interface; another one is not to be called. */
TT_API int tt_interface(void);

TT_API const char *tt_instruction_set(void);
TT_API int tt_use_instruction_set(const char *name);
/* Whether bfloat16 products are there. */
TT_API int tt_has_bfloat16(void);

/* Run on the threads of the OpenMP runtime whose GOMP_parallel this is, or on threads of our own for
 * each call when null. */
TT_API void tt_use_pool(void *gomp_parallel);

TT_API int tt_forward(const tt_sequence *sequence);
TT_API int tt_backward(const tt_sequence *sequence, const tt_gradients *gradients);

TT_API int tt_linear_forward(const tt_linear *linear);
TT_API int tt_linear_backward(const tt_linear *linear, const tt_linear_gradients *gradients);

TT_API int tt_variant_forward(const tt_variant *variant);
TT_API int tt_variant_backward(const tt_variant *variant, const tt_variant_gradients *gradients);

/* One step of B lanes straight from unpacked float32 weights: x (B, F), states (B, H). y is h_after.
 * What is read and what is written must not overlap. */
TT_API int tt_step(const tt_layer *layer, int64_t lanes, const float *x, const float *h, const float *c,
            float *h_after, float *c_after);

/* Packed weights and the states of `lanes` lanes. Null when there is not enough memory. */
typedef struct tt_stepper tt_stepper;
TT_API tt_stepper *tt_stepper_new(const tt_layer *layer, int64_t lanes, const float *h_restart,
                           const float *c_restart); /* (H,) each, or null for zeros */
TT_API void tt_stepper_free(tt_stepper *stepper);
TT_API float *tt_stepper_h(tt_stepper *stepper); /* (lanes, H) */
TT_API float *tt_stepper_c(tt_stepper *stepper); /* (lanes, H), null but for an LSTM */
/* Step `count` lanes: row i of x (count, F) belongs to lane which[i], or i when which is null. resets
 * (count,) or null. y (count, H). Returns 3, and does nothing, when a lane is not there or named twice. */
TT_API int tt_stepper_step(tt_stepper *stepper, int64_t count, const int64_t *which, const float *x,
                    const uint8_t *resets, float *y);

/* A linear map y = W x + b with packed weights: W (outputs, inputs), b (outputs,) or null. A row's
 * result does not depend on the rows beside it. Null when there is not enough memory. */
typedef struct tt_map tt_map;
TT_API tt_map *tt_map_new(int64_t inputs, int64_t outputs, const float *weight, const float *bias);
TT_API void tt_map_free(tt_map *map);
/* x (count, inputs), y (count, outputs). The map is not changed, so threads may share it. */
TT_API void tt_map_apply(const tt_map *map, int64_t count, const float *x, float *y);

TT_API int tt_gated_forward(const tt_gated *gated);
TT_API int tt_gated_backward(const tt_gated *gated, const tt_gated_gradients *gradients);

#ifdef __cplusplus
}
#endif
#endif
