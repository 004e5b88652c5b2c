/* Runs an export for who verifies it: orders on standard input, answers on standard output, in the
   machine's own numbers. It belongs to no export. */
#include <stdio.h>
#include <stdlib.h>

#include "model.h"

#define STATE_BYTES {STATE_BYTES}

static void get(void *to, size_t size)
{
    if (size && fread(to, size, 1, stdin) != 1) {
        exit(1);
    }
}

static void put(const void *from, size_t size)
{
    if (size && fwrite(from, size, 1, stdout) != 1) {
        exit(1);
    }
}

static void *room(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (memory == NULL) {
        exit(1);
    }
    return memory;
}

static void begin(model_state *state)
{
#if FORECAST
    model_init(state, MODEL_POOLED);
#endif
#if LANGUAGE
    model_init(state);
#endif
}

/* Steps of some lanes, one after the other within each step: `what` says of each lane and step
   whether it is there (1) and restarts (2). Inputs and outputs are lane after lane. */
static void run(model_state *states, int lanes)
{
    int steps;
    get(&steps, sizeof steps);
    const size_t count = (size_t)lanes * (size_t)steps;
    unsigned char *what = room(count, 1);
    get(what, count);
#if FORECAST
    float *inputs = room(count, MODEL_FEATURES * sizeof *inputs);
    float *outputs = room(count, MODEL_OUTPUTS * sizeof *outputs);
    const size_t wide = MODEL_OUTPUTS;
    get(inputs, count * MODEL_FEATURES * sizeof *inputs);
#endif
#if LANGUAGE
    int *inputs = room(count, sizeof *inputs);
    float *outputs = room(count, MODEL_SYMBOLS * sizeof *outputs);
    const size_t wide = MODEL_SYMBOLS;
    get(inputs, count * sizeof *inputs);
#endif
    for (int t = 0; t < steps; t++) {
        for (int lane = 0; lane < lanes; lane++) {
            const size_t place = (size_t)lane * (size_t)steps + (size_t)t;
            if (what[place] & 2) {
                model_reset(states + lane);
            }
            if (what[place] & 1) {
#if FORECAST
                model_step_scaled(states + lane, inputs + place * MODEL_FEATURES,
                                  outputs + place * wide);
#endif
#if LANGUAGE
                model_step(states + lane, inputs[place], outputs + place * wide);
#endif
            }
        }
    }
    put(outputs, count * wide * sizeof *outputs);
    free(what);
    free(inputs);
    free(outputs);
}
#if FORECAST

/* Rows of one series, whose name comes first, with a forecast after each. Where `timed`, each row
   comes with its time, and goes with what became of it and what was expected of it. */
static void read_rows(int timed)
{
    int length, count;
    get(&length, sizeof length);
    char *name = room((size_t)length + 1, 1);
    get(name, (size_t)length);
    get(&count, sizeof count);
    model_state state;
    model_init(&state, model_series(name));
    model_forecast *forecasts = room((size_t)count, sizeof *forecasts);
    double *arrivals = room((size_t)count, 2 * sizeof *arrivals);
    for (int t = 0; t < count; t++) {
        int64_t time = 0;
        int restarts = 0;
        model_row row;
        if (timed) {
            get(&time, sizeof time);
        } else {
            get(&restarts, sizeof restarts);
        }
        get(&row, sizeof row);
        if (restarts) {
            model_reset(&state);
        }
        if (timed) {
            if (t > 0) {
                forecasts[t] = forecasts[t - 1];
            }
            arrivals[2 * t] = model_push(&state, time, &row, forecasts + t, arrivals + 2 * t + 1);
        } else {
            model_step(&state, &row, forecasts + t);
        }
    }
    if (timed) {
        put(arrivals, (size_t)count * 2 * sizeof *arrivals);
    }
    put(forecasts, (size_t)count * sizeof *forecasts);
    free(name);
    free(forecasts);
    free(arrivals);
}
#endif
#if LANGUAGE

/* The symbols of code points. */
static void encode(void)
{
    int count;
    get(&count, sizeof count);
    for (int t = 0; t < count; t++) {
        uint32_t code_point;
        get(&code_point, sizeof code_point);
        const int symbol = model_symbol(code_point);
        put(&symbol, sizeof symbol);
    }
}
#endif

int main(void)
{
    int lanes = 0, order;
    model_state *states = NULL;
    while ((order = getchar()) != EOF) {
        switch (order) {
        case 'l': /* so many lanes, fresh */
            get(&lanes, sizeof lanes);
            free(states);
            states = room((size_t)lanes, sizeof *states);
            for (int lane = 0; lane < lanes; lane++) {
                begin(states + lane);
            }
            break;
        case 'r':
            run(states, lanes);
            break;
        case 's': /* the states of the network, which are first in the struct */
            for (int lane = 0; lane < lanes; lane++) {
                put(states + lane, STATE_BYTES);
            }
            break;
#if FORECAST
        case 'f':
            read_rows(0);
            break;
        case 'p':
            read_rows(1);
            break;
#endif
#if LANGUAGE
        case 'e':
            encode();
            break;
#endif
        default:
            return 1;
        }
        fflush(stdout);
    }
    free(states);
    return 0;
}
