/* A recurrence of complex states, real parts first and then imaginary ones. `enter` gives both in
   units of h, `factors` are in units of 2^-30, h / 2^down is what `leave` reads, and `leave` and
   `skip` give y in 2^-8 of its units. */
typedef struct {
    int states, outputs, down;
    integer_map enter, leave, skip;
    const int *factors;
} integer_rotation;
