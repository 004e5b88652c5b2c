"""Language models in C: from symbols to logits, with the vocabulary."""

import numpy as np

from throughtime.errors import OptionError
from throughtime.export.c import layout
from throughtime.export.c.classic import array
from throughtime.export.c.program import Program, Table
from throughtime.export.c.write import Around
from throughtime.model import SequenceModel
from throughtime.tasks.language import LanguageTask


def around_language(program: Program, task: LanguageTask, model: SequenceModel) -> Around:
    """Return what the task adds to a network: embedding, head and vocabulary.

    In whole numbers embedding and head belong to the network, and are there already.
    """
    vocabulary = task.vocabulary
    as_bytes = vocabulary.mode == "bytes"
    codes = np.array([ord(symbol) for symbol in vocabulary.symbols], np.uint32)
    if not as_bytes and (np.diff(codes[1:].astype(np.int64)) <= 0).any():
        raise OptionError(
            "expected a vocabulary in order of its code points for C, as training writes it, got "
            "another order; train again"
        )
    assert model.embedding is not None
    around = Around("language", {})
    around.words.update(
        SYMBOLS=len(vocabulary),
        UNKNOWN=-1 if vocabulary.unknown is None else vocabulary.unknown,
        SAFE=vocabulary.unknown or 0,
        EMBEDDING=model.embedding.embedding_dim,
        UNITS=model.layers.output_size,
        BYTES=int(as_bytes),
        CHARACTERS=int(not as_bytes),
        CODE_POINT="a byte" if as_bytes else "a Unicode code point",
        CODE_POINT_OF="The byte" if as_bytes else "The code point",
    )
    if program.numbers == "float32":
        program.widths |= layout.widths(len(vocabulary), layout.COLUMNS)
        head = layout.affine(array(model.head.weight), array(model.head.bias))
        embedding = array(model.embedding.weight).ravel()
        around.tables = [
            Table("embedding", embedding, "a vector for each symbol"),
            Table("head", head, "the head"),
        ]
    if not as_bytes:
        around.tables.append(Table("code_points", codes, "the vocabulary"))
    return around
