/* A selective state space of so many states for each unit. `enter` gives u, `condense` and `widen`
   the step lengths from u, `into` and `out` give B and C from u; all but `widen` give them in 2^-8
   of their units. Of the products of two or three numbers, divided by 2^down, that of a step length
   and a rate is in units of 2^-26, that of a step length, u and B in units of h, and the sums of C h
   and the products of skips and u in 2^-8 of the units of y. */
typedef struct {
    int units, states, rank;
    int rate_down, enter_down, out_down, skip_down;
    integer_map enter, condense, into, out;
    integer_affine widen;
    const int16_t *rates, *skips;
} integer_selective;
