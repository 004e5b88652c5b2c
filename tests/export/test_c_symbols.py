"""Symbols in C: the vocabulary, probabilities and surprise, in characters and in bytes."""

import numpy as np
import pytest
import torch
from c_exports import compiled_and_run, need_compiler, put, running, train

from throughtime.export import verify

ASKED = "thé — \ufffd\u0000\U0001f600z\u00ff"

MAIN = """
#include <stdio.h>

#include "model.h"

int main(void)
{
    static const uint32_t asked[] = {%s};
    static float logits[MODEL_SYMBOLS];
    model_state state;
    model_init(&state);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        printf("%%d ", model_symbol(asked[i]));
    }
    printf("%%d %%u\\n", MODEL_UNKNOWN, (unsigned)model_code_point(-5));
    model_step(&state, 3, logits);
    model_step(&state, MODEL_SYMBOLS + 7, logits);
    for (int s = 0; s < MODEL_SYMBOLS; s++) {
        printf("%%.9g ", logits[s]);
    }
    printf("\\n");
    for (int s = 0; s < MODEL_SYMBOLS; s++) {
        printf("%%.9g ", model_nats(logits, s));
    }
    printf("\\n%%.9g %%.9g\\n", model_nats(logits, -1), model_nats(logits, MODEL_SYMBOLS));
    model_probabilities(logits);
    for (int s = 0; s < MODEL_SYMBOLS; s++) {
        printf("%%.9g ", logits[s]);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def bytes_run(tmp_path_factory, text_file):
    folder = tmp_path_factory.mktemp("bytes")
    options = {"task": "language", "layer": "lstm:6", "embedding": 3, "spread": 0.3}
    return train(folder / "run", str(text_file), mode="bytes", **options)


@pytest.mark.parametrize("mode", ["characters", "bytes"])
def test_probabilities_and_surprise_are_those_of_the_logits(mode, request, tmp_path):
    need_compiler()
    run = request.getfixturevalue("text_run" if mode == "characters" else "bytes_run")
    vocabulary = run.task.vocabulary
    put(run, tmp_path)
    program = tmp_path / "main.c"
    program.write_text(MAIN % ", ".join(str(ord(symbol)) for symbol in ASKED))
    printed = compiled_and_run([program, tmp_path / "model.c"], tmp_path / "main")
    lines = [np.array(line.split(), dtype=np.float64) for line in printed.splitlines()]
    codes = {ord(symbol): number for number, symbol in enumerate(vocabulary.symbols)}
    unknown = -1 if vocabulary.unknown is None else vocabulary.unknown
    assert lines[0][:-2].tolist() == [codes.get(ord(symbol), unknown) for symbol in ASKED]
    assert lines[0][-2] == unknown
    symbols = torch.tensor([[3, max(unknown, 0)]])
    with torch.no_grad():
        wanted, _ = run.model(symbols)
    logits = wanted[0, -1].double()
    np.testing.assert_allclose(lines[1], logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(lines[2], -logits.log_softmax(0), rtol=1e-5, atol=1e-5)
    assert lines[3].tolist() == 2 * [lines[2][max(unknown, 0)]], "a symbol that is none"
    np.testing.assert_allclose(lines[4], logits.softmax(0), rtol=1e-5, atol=1e-8)


def test_bytes_give_the_numbers_of_the_run(bytes_run, tmp_path):
    with running(bytes_run, tmp_path) as runner:
        assert verify(bytes_run, runner, steps=1500).max_error < 2e-6
