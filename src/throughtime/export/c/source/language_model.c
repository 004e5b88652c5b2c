void model_init(model_state *state)
{
    model_reset(state);
}

void model_reset(model_state *state)
{
    memset(state, 0, sizeof *state);
{START}
}

static int in_vocabulary(int symbol)
{
    return symbol >= 0 && symbol < MODEL_SYMBOLS ? symbol : {SAFE};
}

void model_step(model_state *state, int symbol, float *logits)
{
#if BUFFERED
    {NUMBER} {Y}[{UNITS}];
#endif
    const int known = in_vocabulary(symbol);
#if FLOATING
    const float *features = embedding + (size_t)known * {EMBEDDING};
    network(state, features{ARGUMENT});
    affine(logits, head, {Y}, {UNITS}, MODEL_SYMBOLS);
#endif
#if WHOLE
    int16_t features[{EMBEDDING}];
    embed(features, embedding + (size_t)known * {EMBEDDING}, embedding_factors[known], {EMBEDDING});
    network(state, features{ARGUMENT});
    put_out(logits, &head, 0, MODEL_SYMBOLS, {Y});
#endif
}

void model_step_n(model_state *state, size_t count, const int *symbols, float *logits)
{
    for (size_t t = 0; t < count; t++) {
        model_step(state, symbols[t], logits + t * MODEL_SYMBOLS);
    }
}

#if BYTES
int model_symbol(uint32_t code_point)
{
    return code_point < MODEL_SYMBOLS ? (int)code_point : MODEL_UNKNOWN;
}

uint32_t model_code_point(int symbol)
{
    return (uint32_t)symbol;
}
#endif
#if CHARACTERS
int model_symbol(uint32_t code_point)
{
    int below = 0, above = MODEL_SYMBOLS; /* symbols from 1 on are in order of their code points */
    while (above - below > 1) {
        const int middle = (below + above) / 2;
        if (code_points[middle] <= code_point) {
            below = middle;
        } else {
            above = middle;
        }
    }
    return below > 0 && code_points[below] == code_point ? below : MODEL_UNKNOWN;
}

uint32_t model_code_point(int symbol)
{
    return symbol >= 0 && symbol < MODEL_SYMBOLS ? code_points[symbol] : code_points[MODEL_UNKNOWN];
}
#endif

static float largest(const float *values)
{
    float most = values[0];
    for (int s = 1; s < MODEL_SYMBOLS; s++) {
        most = values[s] > most ? values[s] : most;
    }
    return most;
}

void model_probabilities(float *logits)
{
    const float most = largest(logits);
    float sum = 0.0f;
    for (int s = 0; s < MODEL_SYMBOLS; s++) {
        logits[s] = exponential_of(logits[s] - most);
        sum += logits[s];
    }
    for (int s = 0; s < MODEL_SYMBOLS; s++) {
        logits[s] /= sum;
    }
}

float model_nats(const float *logits, int symbol)
{
    const float most = largest(logits);
    float sum = 0.0f;
    for (int s = 0; s < MODEL_SYMBOLS; s++) {
        sum += exponential_of(logits[s] - most);
    }
    return logarithm(sum) - (logits[in_vocabulary(symbol)] - most);
}
