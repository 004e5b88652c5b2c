"""`throughtime generate`: text drawn from a language run, as it is drawn."""

import codecs
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from throughtime.cli.failures import say
from throughtime.cli.options import Json, RunFolder, Seed
from throughtime.cli.show import print_json
from throughtime.errors import DataError, OptionError

if TYPE_CHECKING:
    from throughtime.data.text import Vocabulary


def generate(
    run: RunFolder,
    prompt: Annotated[str, typer.Option(help="What to continue.", show_default="a newline")] = "\n",
    prompt_file: Annotated[
        Path | None, typer.Option(help="Continue the UTF-8 text in a file instead.")
    ] = None,
    length: Annotated[int, typer.Option(help="How many symbols to draw.")] = 500,
    temperature: Annotated[
        float, typer.Option(help="Below 1 plays safe, above 1 dares; 0 takes the likeliest.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(help="Draw among the k likeliest symbols only.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw among the likeliest symbols that together have this probability."),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Continue a text, symbol by symbol.

    Prints the prompt and then what is drawn, as it is drawn.
    The same seed draws the same text.
    """
    if prompt_file is not None:
        if prompt != "\n":
            raise OptionError("expected --prompt or --prompt-file, got both; give one of them")
        prompt = _read(prompt_file)
    from throughtime.run import load
    from throughtime.tasks import LanguageTask

    loaded = load(run)
    given = prompt
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    in_bytes = False
    if isinstance(loaded.task, LanguageTask):
        _tell_unknown(loaded.task.vocabulary, prompt)
        in_bytes = loaded.task.vocabulary.mode == "bytes"
    if in_bytes:
        # The symbols are bytes: U+0000 to U+00FF in Python, UTF-8 for people.
        given = prompt.encode().decode("latin-1")
    drawn = loaded.generate(
        given, length=length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    readable = (decode(symbol.encode("latin-1")) if in_bytes else symbol for symbol in drawn)
    if json:
        print_json({"prompt": prompt, "text": "".join(readable), "seed": seed})
        return
    started = False
    for symbol in readable:
        if not started:
            sys.stdout.write(prompt)
            started = True
        sys.stdout.write(symbol)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected UTF-8 in {path}, got byte 0x{error.object[error.start]:02x} at byte "
            f"{error.start}; save the prompt as UTF-8"
        ) from None


def _tell_unknown(vocabulary: "Vocabulary", prompt: str) -> None:
    """Say which characters of a prompt the model can't tell apart."""
    if vocabulary.unknown is None:
        return
    strange = sorted(set(prompt) - set(vocabulary.symbols))
    if strange:
        shown = " ".join(map(repr, strange[:5])) + (" ..." if len(strange) > 5 else "")
        say(f"never seen in training, read as unknown: {shown}")
