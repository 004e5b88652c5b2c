"""`config.json` without pydantic: the same fields, the same limits, the same refusals.

`run.RunConfig`, `model.ModelConfig`, `ForecastOptions` and `LanguageOptions` say what the fields
mean; here their values are checked one by one, so that nothing that a file says is taken on trust.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from throughtime.data.sequences import TableFormat
from throughtime.errors import BundleError, DataError
from throughtime.formats import plain

FORMAT = "throughtime.run/1"

_FIELDS = {
    *("format", "model_type", "version", "task", "model"),
    *("training", "state", "source"),
}
_MANY = 10_000_000
_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class ModelConfig(NamedTuple):
    """What a model is made of; the fields are those of `model.ModelConfig`."""

    layer: str
    outputs: int
    features: int | None = None
    symbols: int | None = None
    embedding: int = 128
    embedding_dropout: float = 0.0
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    weight_drop: float = 0.0
    mask_span: int = 128
    memory: int | None = None
    learned_initial_state: bool = False
    negative_eigenvalues: bool = False


class ForecastOptions(NamedTuple):
    """What a forecast is asked to be; the fields are those of `tasks.forecast.ForecastOptions`."""

    horizon: int
    head: str
    levels: tuple[float, ...]


class Config(NamedTuple):
    """`config.json`, checked.

    Attributes:
        task: name, and what describes the task, which its own reader checks.
        model: what the model is made of.
        state: name, shape and dtype of each leaf of a lane's state.
        version: of throughtime that wrote it.
    """

    task: dict[str, Any]
    model: ModelConfig
    state: tuple[tuple[str, tuple[int, ...], str], ...]
    version: str


class Fields:
    """Reads fields of one object of a JSON file, and refuses what does not fit.

    Args:
        content: the object.
        place: what it is, for messages, such as `model`.
    """

    def __init__(self, content: Any, place: str) -> None:
        self.place = place
        if not isinstance(content, dict):
            raise self.misfit("", "an object", content)
        self.content: Mapping[str, Any] = content

    def misfit(self, name: str, wanted: str, got: object) -> BundleError:
        """Return the error that says what was expected of a field."""
        field = ".".join(part for part in (self.place, name) if part)
        return BundleError(
            f"expected {wanted} as {field} of config.json, got {plain(got, longest=200)}; the file "
            "is not one that throughtime wrote"
        )

    def only(self, names: set[str]) -> None:
        """Refuse fields that there are not."""
        if surplus := sorted(set(self.content) - names):
            raise self.misfit(plain(surplus[0], longest=60), "no field", "one")

    def text(self, name: str, *default: str) -> str:
        """Return a text."""
        value = self.content.get(name, *default)
        if not isinstance(value, str):
            raise self.misfit(name, "text", value)
        return value

    def whole(self, name: str, least: int, most: int | None, *default: int) -> int:
        """Return a whole number between two, or from one on where the other is None."""
        value = self.content.get(name, *default)
        if type(value) is not int or value < least or (most is not None and value > most):
            wanted = f"{least} or more" if most is None else f"{least} to {most}"
            raise self.misfit(name, f"a whole number of {wanted}", value)
        return value

    def maybe(self, name: str, least: int, most: int | None) -> int | None:
        """Return what `whole` does, or None."""
        return None if self.content.get(name) is None else self.whole(name, least, most)

    def share(self, name: str) -> float:
        """Return a number of at least 0 and below 1."""
        value = self.content.get(name, 0.0)
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise self.misfit(name, "a number of at least 0 and below 1", value)
        return float(value)

    def truth(self, name: str) -> bool:
        """Return true or false; false where nothing is said."""
        value = self.content.get(name, False)
        if not isinstance(value, bool):
            raise self.misfit(name, "true or false", value)
        return value

    def numbers(self, name: str, *default: tuple[float, ...]) -> tuple[float, ...]:
        """Return a list of numbers."""
        value = self.content.get(name, *default)
        if not isinstance(value, list | tuple):
            raise self.misfit(name, "a list of numbers", value)
        if any(type(each) not in (int, float) for each in value):
            raise self.misfit(name, "a list of numbers", value)
        return tuple(map(float, value))


def read_config(content: Mapping[str, Any]) -> Config:
    """Check `config.json`.

    Raises:
        BundleError: a field is missing, unknown, of another kind or out of range, or the format
            is another one.
    """
    fields = Fields(content, "")
    fields.only(_FIELDS)
    if (format := fields.text("format")) != FORMAT:
        raise BundleError(
            f"expected a run of format {FORMAT}, got {plain(format, longest=80)}; open it with the "
            "throughtime that wrote it"
        )
    fields.text("model_type", "throughtime")
    fields.text("source")
    for name in ("task", "training"):
        if not isinstance(content.get(name), dict):
            raise fields.misfit(name, "an object", content.get(name))
    state = content.get("state")
    if not isinstance(state, list):
        raise fields.misfit("state", "a list", state)
    leaves = tuple(_read_leaf(fields, leaf) for leaf in state)
    model = read_model(content.get("model"))
    return Config(content["task"], model, leaves, fields.text("version"))


def read_model(content: Any) -> ModelConfig:
    """Check what a model is made of.

    Raises:
        BundleError: as of `read_config`.
    """
    fields = Fields(content, "model")
    fields.only(set(ModelConfig._fields))
    made = ModelConfig(
        layer=fields.text("layer"),
        outputs=fields.whole("outputs", 1, _MANY),
        features=fields.maybe("features", 1, 100_000),
        symbols=fields.maybe("symbols", 1, _MANY),
        embedding=fields.whole("embedding", 1, 100_000, 128),
        embedding_dropout=fields.share("embedding_dropout"),
        dropout=fields.share("dropout"),
        recurrent_dropout=fields.share("recurrent_dropout"),
        zoneout=fields.share("zoneout"),
        weight_drop=fields.share("weight_drop"),
        mask_span=fields.whole("mask_span", 1, None, 128),
        memory=fields.maybe("memory", 3, None),
        learned_initial_state=fields.truth("learned_initial_state"),
        negative_eigenvalues=fields.truth("negative_eigenvalues"),
    )
    if (made.features is None) == (made.symbols is None):
        raise fields.misfit("", "either features or symbols", "both or neither")
    if made.embedding_dropout and made.symbols is None:
        raise fields.misfit("embedding_dropout", "symbols with embedding_dropout", "none")
    return made


def read_forecast_options(content: Any) -> ForecastOptions:
    """Check what a forecast is asked to be.

    Raises:
        BundleError: as of `read_config`.
    """
    fields = Fields(content, "task.options")
    fields.only({"horizon", "head", "levels", "fractions"})
    head = fields.text("head", "quantile")
    if head not in ("quantile", "gaussian"):
        raise fields.misfit("head", "quantile or gaussian", head)
    levels = fields.numbers("levels", _LEVELS)
    rising = bool(levels) and list(levels) == sorted(set(levels))
    if not (rising and levels[0] > 0 and levels[-1] < 1):
        raise fields.misfit("levels", "rising levels between 0 and 1", levels)
    fields.numbers("fractions", (0.7, 0.15, 0.15))
    return ForecastOptions(fields.whole("horizon", 1, 10_000, 1), head, levels)


def read_language_options(content: Any) -> tuple[str, bool]:
    """Check what a language model is asked to be: its mode, and whether documents are independent.

    Raises:
        BundleError: as of `read_config`.
    """
    fields = Fields(content, "task.options")
    fields.only({"mode", "fractions", "independent"})
    mode = fields.text("mode", "characters")
    if mode not in ("characters", "bytes"):
        raise fields.misfit("mode", "characters or bytes", mode)
    fields.numbers("fractions", (0.9, 0.1))
    return mode, fields.truth("independent")


def read_table_format(content: Any) -> TableFormat:
    """Check how tables are read.

    Raises:
        BundleError: as of `read_config`.
    """
    fields = Fields(content, "task.format")
    fields.only(set(TableFormat.__dataclass_fields__))
    try:
        return TableFormat.from_json(dict(fields.content))
    except DataError as error:
        raise fields.misfit("", "how tables are read", str(error)) from None


def _read_leaf(fields: Fields, leaf: Any) -> tuple[str, tuple[int, ...], str]:
    """Check one leaf of the state as it is described."""
    if isinstance(leaf, list) and len(leaf) == 3:
        name, shape, dtype = leaf
        sizes = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
        named = isinstance(name, str) and isinstance(dtype, str)
        if named and sizes and math.prod(shape) <= _MANY:
            return name, tuple(shape), dtype
    raise fields.misfit("state", "name, shape and dtype of each leaf", leaf)
