"""`throughtime train`: from data to a run directory, or on with one that was interrupted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from throughtime.cli.failures import Stopped
from throughtime.cli.options import DATA_HELP, Json, Seed
from throughtime.cli.show import print_run
from throughtime.errors import OptionError

if TYPE_CHECKING:
    from typer import Context
else:
    # What typer hands over is of the base class of the one that it is written as.
    Context = typer.Context.__bases__[0]

_TABLES = "Tables"
_MODEL = "Model"
_TRAINING = "Training"
_FORECASTS = "Forecasts"
_TEXT = "Text"

_READING = (
    "time",
    "target",
    "key",
    "covariate",
    "no_covariates",
    "known_future",
    "step",
    "season",
    "max_gap",
    "duplicates",
    "time_format",
)
"""Options that say how a table is read; what is not given is guessed, and the guess printed."""

_WITH_RESUME = ("resume", "data", "json")


def train(
    context: Context,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=DATA_HELP)] = None,
    task: Annotated[
        str | None, typer.Option(help="forecast or language; by the kind of data if not given.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Name, size and depth, such as gru:64x2 or lstm:384; sizes from the input up, "
            "gru:256,128,64; other layers on top, gru:64x2+attention:64; with a short convolution "
            "before each and a residual block around it, rg_lru:192x4:conv:block. "
            "Names: rnn, lstm, gru, "
            "min_gru, min_lstm, lru, rg_lru, s5, selective, hgrn, slstm, mlstm, gated_delta, "
            "rwkv7, convolution, attention, echo_state.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run directory, new or empty; a new one below runs/ if not given."),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="How long to train: 60s, 5min, 500steps, 3epochs.")
    ] = "60s",
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Go on with an interrupted run; give DATA only if it has moved.",
        ),
    ] = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    split: Annotated[
        str | None,
        typer.Option(
            help="Shares in time order. Tables: 70/15/15 for training, validation and test; "
            "text: 90/10."
        ),
    ] = None,
    json: Json = False,
    time: Annotated[
        str | None, typer.Option(help="The column of times.", rich_help_panel=_TABLES)
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The column to forecast.", rich_help_panel=_TABLES)
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="The column that tells series apart.", rich_help_panel=_TABLES),
    ] = None,
    covariate: Annotated[
        list[str] | None,
        typer.Option(
            help="Another column to read, known up to now; give it once for each.",
            rich_help_panel=_TABLES,
        ),
    ] = None,
    no_covariates: Annotated[
        bool,
        typer.Option(
            "--no-covariates", help="Read no other columns at all.", rich_help_panel=_TABLES
        ),
    ] = False,
    known_future: Annotated[
        list[str] | None,
        typer.Option(
            help="A covariate whose future is known, such as a holiday; give it once for each.",
            rich_help_panel=_TABLES,
        ),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            help="Time between rows: 30min, 1mo, a number, or irregular.", rich_help_panel=_TABLES
        ),
    ] = None,
    season: Annotated[
        int | None, typer.Option(help="Season in steps; 1 for none.", rich_help_panel=_TABLES)
    ] = None,
    max_gap: Annotated[
        int | None,
        typer.Option(
            help="Longest run of missing steps that is bridged; after a longer one the state "
            "starts afresh.",
            rich_help_panel=_TABLES,
        ),
    ] = None,
    duplicates: Annotated[
        Literal["last", "first", "mean", "error"],
        typer.Option(help="Which of several rows with one time is kept.", rich_help_panel=_TABLES),
    ] = "last",
    time_format: Annotated[
        str | None,
        typer.Option(
            help="How times are written, such as %d/%m/%Y; guessed if not given.",
            rich_help_panel=_TABLES,
        ),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            help="Steps ahead, all forecast at once; 1 if not given.", rich_help_panel=_FORECASTS
        ),
    ] = None,
    head: Annotated[
        Literal["quantile", "gaussian"] | None,
        typer.Option(
            help="Learn the quantiles themselves, as if not given, or a mean and a deviation.",
            rich_help_panel=_FORECASTS,
        ),
    ] = None,
    mode: Annotated[
        Literal["characters", "bytes"] | None,
        typer.Option(help="What the symbols are; characters if not given.", rich_help_panel=_TEXT),
    ] = None,
    embedding: Annotated[
        int | None,
        typer.Option(help="Size of a symbol's vector; 128 if not given.", rich_help_panel=_TEXT),
    ] = None,
    embedding_dropout: Annotated[
        float | None,
        typer.Option(
            help="Share of the symbols dropped, each wherever it stands, for 128 steps at a time.",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    dropout: Annotated[
        float, typer.Option(help="Share dropped between layers.", rich_help_panel=_MODEL)
    ] = 0.0,
    recurrent_dropout: Annotated[
        float,
        typer.Option(
            help="Share of h that the gates of an RNN, LSTM or GRU do not see, for 128 steps at a "
            "time.",
            rich_help_panel=_MODEL,
        ),
    ] = 0.0,
    zoneout: Annotated[
        float,
        typer.Option(
            help="Share of units of an RNN, LSTM or GRU that stay as they are at a step.",
            rich_help_panel=_MODEL,
        ),
    ] = 0.0,
    weight_drop: Annotated[
        float,
        typer.Option(
            help="Share of recurrent weights of an RNN, LSTM or GRU dropped, for 128 steps at a "
            "time.",
            rich_help_panel=_MODEL,
        ),
    ] = 0.0,
    memory: Annotated[
        int | None,
        typer.Option(
            help="Steps that the gates should remember from the start.", rich_help_panel=_MODEL
        ),
    ] = None,
    learned_initial_state: Annotated[
        bool,
        typer.Option(
            "--learned-initial-state",
            help="Learn the state that a sequence starts from, instead of zeros.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    negative_eigenvalues: Annotated[
        bool,
        typer.Option(
            "--negative-eigenvalues",
            help="Let linear recurrences turn their states around, which counting modulo two "
            "needs.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    lanes: Annotated[
        int | None,
        typer.Option(help="Pieces of the data read side by side.", rich_help_panel=_TRAINING),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Steps that a gradient reaches back; the state is carried on beyond.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    bptt: Annotated[
        Literal["truncated", "full"] | None,
        typer.Option(
            help="Cut gradients between windows, as if not given, or let them reach through whole "
            "lanes.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    chunks: Annotated[
        int,
        typer.Option(
            help="With full BPTT, recompute in so many pieces instead of keeping everything.",
            rich_help_panel=_TRAINING,
        ),
    ] = 1,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest of the course.", rich_help_panel=_TRAINING)
    ] = None,
    weight_decay: Annotated[
        float, typer.Option(help="Of AdamW, on matrices.", rich_help_panel=_TRAINING)
    ] = 0.01,
    clip: Annotated[
        float,
        typer.Option(
            help="Gradients with a larger norm are scaled down to it.", rich_help_panel=_TRAINING
        ),
    ] = 1.0,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many validations without improvement.", rich_help_panel=_TRAINING
        ),
    ] = None,
    watch_gradients: Annotated[
        bool,
        typer.Option(
            "--watch-gradients",
            help="Measure how far back gradients reach at each validation: in what is shown, and "
            "in metrics.csv.",
            rich_help_panel=_TRAINING,
        ),
    ] = False,
) -> None:
    """Train a model on a table or a text.

    What is found in the data, every guess and the progress go to standard error.
    At the end come the figures beside those of the baselines.
    Ctrl-C saves everything; `--resume` goes on.
    """
    given = _given(context)
    if resume is not None:
        _refuse_with_resume(given)
    elif data is None:
        raise OptionError(
            "expected DATA to train on, got none; give a file or a demo such as demo:sunspots, "
            "or --resume RUN to go on with a run"
        )
    from throughtime.training import Interrupted, fit
    from throughtime.training import resume as go_on

    try:
        if resume is not None:
            run = go_on(resume, data)
        else:
            run = fit(
                data,
                task=task,
                layer=layer,
                out=out,
                budget=budget,
                seed=seed,
                device=device,
                split=split,
                horizon=horizon,
                head=head,
                mode=mode,
                embedding=embedding,
                embedding_dropout=embedding_dropout,
                reading=_reading(given),
                dropout=dropout,
                recurrent_dropout=recurrent_dropout,
                zoneout=zoneout,
                weight_drop=weight_drop,
                memory=memory,
                learned_initial_state=learned_initial_state,
                negative_eigenvalues=negative_eigenvalues,
                lanes=lanes,
                window=window,
                bptt=bptt,
                chunks=chunks,
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                clip=clip,
                patience=patience,
                watch_gradients=watch_gradients,
            )
    except Interrupted as stopped:
        raise Stopped(str(stopped)) from None
    except OSError as error:
        # Writing to an open file names none.
        place = error.filename or resume or out or "the run directory"
        raise OSError(error.errno, error.strerror, str(place)) from None
    print_run(run, as_json=json)


def _given(context: Context) -> dict[str, Any]:
    """Return the options that were typed."""
    return {
        name: value
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) is not None
        and source.name == "COMMANDLINE"
    }


def _refuse_with_resume(given: dict[str, Any]) -> None:
    others = [name for name in given if name not in _WITH_RESUME]
    if others:
        named = ", ".join("--" + name.replace("_", "-") for name in others)
        raise OptionError(
            f"expected no training options beside --resume, got {named}: the run goes on as it "
            "was begun; leave them out, or train anew into another folder"
        )


def _reading(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of `read_table` among those that were typed."""
    reading = {name: given[name] for name in _READING if name in given}
    listed = reading.pop("covariate", None)
    if reading.pop("no_covariates", False):
        if listed:
            raise OptionError(
                "expected --covariate or --no-covariates, got both; leave one of them out"
            )
        listed = []
    return reading if listed is None else {**reading, "covariates": listed}
