"""The program `throughtime`: its verbs put together, and how it begins and ends."""

import difflib
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from throughtime import __version__
from throughtime.cli import (
    bench,
    check,
    demo,
    evaluate,
    export,
    generate,
    inspect,
    lab,
    predict,
    serve,
    stream,
    train,
)
from throughtime.cli.failures import (
    INTERRUPTED,
    PIPE_CLOSED,
    PROGRAM,
    Stopped,
    abandon_output,
    explain,
    fail,
    say,
)
from throughtime.errors import OptionError

_VERBS: dict[str, Callable[..., None]] = {
    "demo": demo.demo,
    "train": train.train,
    "evaluate": evaluate.evaluate,
    "predict": predict.predict,
    "generate": generate.generate,
    "check": check.check,
    "stream": stream.stream,
    "serve": serve.serve,
    "export": export.export,
    "inspect": inspect.inspect,
    "bench": bench.bench,
}

app = typer.Typer(
    name=PROGRAM,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _verb in _VERBS.items():
    app.command(_name)(_verb)
app.add_typer(lab.lab, name="lab")


def _show_version(asked: bool) -> bool:
    if asked:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Recurrent sequence models, with the state accounted for.

    Train on a table or a text, check that the model runs the same in every way,
    then forecast, generate or run it on what arrives.
    Begin with: throughtime demo
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: what follows the program's name; those of the process when None.

    Returns:
        The exit code: 0; 1 for what a user can mend; 2 for wrong use; 130 after Ctrl-C; 141 when
        the reader of the output has gone.

    Example:
        >>> main(["--version"])
        throughtime 0.1.0
        0
    """
    typed = sys.argv[1:] if arguments is None else list(arguments)
    for output in (sys.stdout, sys.stderr):
        if hasattr(output, "reconfigure"):
            # A terminal that can't show a character is no reason to fail.
            output.reconfigure(errors="replace")
    try:
        code = _run(typed)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_output()
        return PIPE_CLOSED
    except Stopped as stopped:
        say(f"{PROGRAM}: {stopped}")
        return INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        say(f"{PROGRAM}: interrupted")
        return INTERRUPTED
    except Exception as error:
        explained = explain(error, typed)
        if explained is None:
            raise
        text, code = explained
        abandon_output()
        fail(text)
    return code


def _run(arguments: list[str]) -> int:
    verb = next(iter(arguments), "--help")
    verbs = [*_VERBS, "lab"]
    if not verb.startswith("-") and verb not in verbs:
        near = difflib.get_close_matches(verb, verbs, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"see `{PROGRAM} --help`"
        raise OptionError(f"expected a command among {', '.join(verbs)}, got {verb!r}; {hint}")
    command = typer.main.get_command(app)
    try:
        with command.make_context(PROGRAM, arguments or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    return 0
