#define MODEL_FINGERPRINT "{FINGERPRINT}"
#define MODEL_SYMBOLS {SYMBOLS} /* size of the vocabulary */
#define MODEL_UNKNOWN {UNKNOWN} /* symbol of what is not in it; -1 for none */

/* Everything that one stream remembers. Have as many as there are streams; copy one to fork it,
   write its bytes to keep it. */
typedef struct {
{FIELDS}
} model_state;

/* Begin a stream. */
void model_init(model_state *state);

/* Forget all symbols: the next one is a first one. */
void model_reset(model_state *state);

/* Read a symbol, 0 to MODEL_SYMBOLS - 1, and give MODEL_SYMBOLS logits, one for each that may be
   next. Any other number is read as symbol {SAFE}, here and below. */
void model_step(model_state *state, int symbol, float *logits);

/* The same for `count` symbols in a row, with MODEL_SYMBOLS logits after each. */
void model_step_n(model_state *state, size_t count, const int *symbols, float *logits);

/* The symbol of {CODE_POINT}; MODEL_UNKNOWN where it is not in the vocabulary. */
int model_symbol(uint32_t code_point);

/* {CODE_POINT_OF} of a symbol. */
uint32_t model_code_point(int symbol);

/* Turn MODEL_SYMBOLS logits into probabilities, in place. */
void model_probabilities(float *logits);

/* How surprising a symbol is that came after these logits, in nats. */
float model_nats(const float *logits, int symbol);
