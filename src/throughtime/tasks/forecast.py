"""Forecasting: the next value of a series and the h values after it, as quantiles.

Each series is scaled by its own median and spread. The model reads the scaled value with a flag for
whether it was there, and the covariates; it puts out, for each of h steps ahead, how far each
quantile lies from the last value seen. All steps ahead come from one output, none is fed back.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator
from torch import Tensor
from torch.nn import functional

from throughtime.data.findings import Findings
from throughtime.data.grid import steps_between
from throughtime.data.sequences import Series, Table, TableFormat
from throughtime.data.splits import TABLE_SPLIT, split_rows
from throughtime.data.tables import read_table
from throughtime.data.windows import Example
from throughtime.errors import DataError
from throughtime.model import ModelConfig, SequenceModel
from throughtime.tasks.baselines import DEFAULT_LEVELS, default_baselines
from throughtime.tasks.features import FeatureReader
from throughtime.tasks.metrics import Split, score_forecasts
from throughtime.tasks.scaling import RobustScaler
from throughtime.tasks.task import Metrics, Recipe, Task, misfit, run_over

Head = Literal["quantile", "gaussian"]

_TABLE_FORMAT = TypeAdapter(TableFormat)

_SAMPLE_ROWS = 64
_LARGEST_LOG_SCALE = math.log(1e6)


class ForecastOptions(BaseModel):
    """What a forecast is asked to be.

    Attributes:
        horizon: h, steps ahead.
        head: "quantile" learns the quantiles themselves (pinball loss), "gaussian" a mean and a
            standard deviation (negative log-likelihood).
        levels: the quantile levels put out; the interval is between the first and the last.
        fractions: shares of the training, validation and test rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon: int = Field(default=1, ge=1, le=10_000)
    head: Head = "quantile"
    levels: tuple[float, ...] = DEFAULT_LEVELS
    fractions: tuple[float, ...] = TABLE_SPLIT

    @field_validator("levels")
    @classmethod
    def _check_levels(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if not levels or list(levels) != sorted(set(levels)) or not 0 < levels[0] <= levels[-1] < 1:
            raise ValueError(f"expected rising levels between 0 and 1, got {levels}")
        return levels


@dataclass(frozen=True)
class Forecasts:
    """Forecast quantiles of one series in the data's units.

    Attributes:
        quantiles: (T, h, Q): row t, column k is made after row t for k + 1 steps later.
    """

    quantiles: np.ndarray


class ForecastTask(Task):
    """Forecasting one table's target column.

    Args:
        options: what is asked for.
        format: how tables are read.
        scaler: of the target, a scale for each series.
        covariate_scaler: a scale for each covariate.
    """

    name = "forecast"
    recipe = Recipe(layer="gru:64", lanes=32, steps=64, learning_rate=3e-3)
    parts = ("train", "validation", "test")
    route = "data to forecast"

    def __init__(
        self,
        options: ForecastOptions,
        format: TableFormat,
        scaler: RobustScaler,
        covariate_scaler: RobustScaler,
    ) -> None:
        self.options = options
        self.format = format
        self.scaler = scaler
        self.covariate_scaler = covariate_scaler
        self.features = FeatureReader(format, scaler, covariate_scaler, options.horizon)
        self.levels = torch.tensor(options.levels, dtype=torch.float32)

    @classmethod
    def fit(cls, table: Table, options: ForecastOptions) -> "ForecastTask":
        """Fit the scales to the training rows of a table."""
        parts = [_parts(series, options.fractions) for series in table.series]
        train = {s.unique_id: s.y[p[0]] for s, p in zip(table.series, parts, strict=True)}
        columns = {
            name: np.concatenate(
                [s.covariates[p[0], i] for s, p in zip(table.series, parts, strict=True)]
            )
            for i, name in enumerate(table.format.covariates)
        }
        return cls(options, table.format, RobustScaler.fit(train), RobustScaler.fit(columns))

    def model_config(self, layer: str, **options: Any) -> ModelConfig:
        """Return the configuration of a forecasting model."""
        each = len(self.options.levels) if self.options.head == "quantile" else 2
        return ModelConfig(
            features=self.features.size, layer=layer, outputs=each * self.options.horizon, **options
        )

    def read(self, source: Any, fractions: tuple[float, ...] | None = None) -> Table:
        """Read a table the way the training table was read."""
        if fractions is not None:
            self.options = self.options.model_copy(update={"fractions": fractions})
        return read_table(source, format=self.format)

    def examples(self, data: Table, part: str) -> list[Example]:
        """Return the training rows, or all rows up to the validation part's end.

        The validation examples start at each series' first row, so that the state is warm, and
        have targets in the validation rows only.
        """
        found = []
        for series in data.series:
            parts = _parts(series, self.options.fractions)
            wanted = parts[self.parts.index(part)]
            inputs = self.features.inputs(series)[: wanted.stop]
            targets = self.features.targets(series, wanted)[: wanted.stop]
            found.append(Example(inputs, targets, series.restarts[: wanted.stop].copy()))
        return found

    def long_example(self, data: Table) -> Example:
        """Return the validation and test rows of the longest series, with all their targets."""
        series = max(data.series, key=len)
        rows = slice(_parts(series, self.options.fractions)[0].stop, len(series))
        starts = series.restarts[rows].copy()
        starts[:1] = True
        return Example(
            self.features.inputs(series)[rows], self.features.targets(series, rows)[rows], starts
        )

    def sample(self, data: Table) -> dict[str, Tensor]:
        """Return the last validation rows of the longest series, in the data's units."""
        series = max(data.series, key=len)
        stop = _parts(series, self.options.fractions)[1].stop
        rows = slice(max(stop - _SAMPLE_ROWS, 0), stop)
        restarts = series.restarts[rows].copy()
        restarts[:1] = True
        return {
            "unique_id": torch.tensor([ord(symbol) for symbol in series.unique_id]),
            "y": torch.tensor(series.y[rows]),
            "covariates": torch.tensor(series.covariates[rows]),
            "restarts": torch.tensor(restarts),
        }

    def answer(self, model: SequenceModel, sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the features (T, F) of a sample and the forecasts (T, h, Q) in its units."""
        y = sample["y"].numpy()
        series = Series(
            unique_id="".join(map(chr, sample["unique_id"].tolist())),
            time=np.arange(len(y)),
            y=y,
            covariates=sample["covariates"].numpy(),
            filler=np.zeros(len(y), dtype=bool),
            restarts=sample["restarts"].numpy(),
        )
        (made,) = self.forecasts(model, Table((series,), self.format, Findings({}, ())))
        return {
            "features": torch.from_numpy(self.features.inputs(series)),
            "quantiles": torch.from_numpy(made.quantiles),
        }

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed pinball loss, or negative log-likelihood, and the number of targets."""
        valid = ~targets.isnan()
        wanted = targets.nan_to_num()
        if self.options.head == "quantile":
            error = wanted[..., None] - self._scaled_quantiles(outputs, inputs)
            levels = self.levels.to(error.device)
            each = 2 * torch.maximum(levels * error, (levels - 1) * error).mean(dim=-1)
        else:
            mean, log_scale = self._mean_and_log_scale(outputs, inputs)
            each = log_scale + 0.5 * ((wanted - mean) * torch.exp(-log_scale)) ** 2
        return torch.where(valid, each, 0).sum(), valid.sum()

    def scaled_quantiles(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Return quantiles (..., h, Q), in order, in the scale of the inputs.

        Quantiles that cross are put in order (Chernozhukov, Fernandez-Val and Galichon 2010,
        https://doi.org/10.3982/ECTA7880).

        Args:
            outputs: (..., O).
            inputs: (..., F), the features the outputs were made from.
        """
        if self.options.head == "quantile":
            ordered: Tensor = torch.sort(self._scaled_quantiles(outputs, inputs), dim=-1).values
            return ordered
        mean, log_scale = self._mean_and_log_scale(outputs, inputs)
        normal = torch.special.ndtri(self.levels.to(mean.device, torch.float64))
        # Bounded above as the inputs are: an infinite spread times 0 would be no median.
        bounded = log_scale.clamp(max=_LARGEST_LOG_SCALE)
        spread: Tensor = bounded.exp()[..., None] * normal.to(mean.dtype)
        return mean[..., None] + spread

    def forecasts(self, model: SequenceModel, table: Table) -> list[Forecasts]:
        """Run over every series from its first row and return what is forecast after each row."""
        examples = [
            Example(self.features.inputs(s), np.full((len(s), 1), np.nan, np.float32), s.restarts)
            for s in table.series
        ]
        h, q = self.options.horizon, len(self.options.levels)
        found = [np.full((len(s), h, q), np.nan) for s in table.series]
        for batch, start, inputs, outputs, _, lengths in run_over(model, examples):
            quantiles = self.scaled_quantiles(outputs, inputs).double().cpu().numpy()
            for lane, index in enumerate(batch):
                count = int(lengths[lane])
                found[index][start : start + count] = quantiles[lane, :count]
        return [
            Forecasts(self.scaler.undo(series.unique_id, quantiles))
            for series, quantiles in zip(table.series, found, strict=True)
        ]

    def evaluate(self, model: SequenceModel, data: Table) -> dict[str, Metrics]:
        """Return the figures of the validation and test rows, all steps ahead together."""
        forecasts = self.forecasts(model, data)
        return {part: self._score(data, forecasts, part) for part in self.parts[1:]}

    def baselines(self, data: Table) -> dict[str, dict[str, Metrics]]:
        """Return the figures of last value, seasonal naive and ridge on lags."""
        splits = self._splits(data)
        found = default_baselines(
            splits,
            season=data.format.season,
            horizon=self.options.horizon,
            levels=self.options.levels,
        )
        return {
            part: {
                baseline.name: baseline.score(
                    splits, self._rows(data, part), season=data.format.season
                )
                for baseline in found
            }
            for part in self.parts[1:]
        }

    def to_json(self) -> dict[str, Any]:
        """Return options, format and scales as JSON values."""
        return {
            "options": self.options.model_dump(mode="json"),
            "format": self.format.to_json(),
            "scaler": self.scaler.to_json(),
            "covariate_scaler": self.covariate_scaler.to_json(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ForecastTask":
        """Make the task that `to_json` described.

        Raises:
            BundleError: when the content is not what `to_json` gives.
        """
        try:
            return cls(
                ForecastOptions.model_validate(content["options"]),
                _TABLE_FORMAT.validate_python(vars(TableFormat.from_json(content["format"]))),
                RobustScaler.from_json(content["scaler"]),
                RobustScaler.from_json(content["covariate_scaler"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise misfit(cls.name, error) from None

    def _scaled_quantiles(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        shape = (*outputs.shape[:-1], self.options.horizon, len(self.options.levels))
        return outputs.view(shape) + inputs[..., :1, None]

    def _mean_and_log_scale(self, outputs: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = outputs.view(*outputs.shape[:-1], self.options.horizon, 2).unbind(dim=-1)
        # Bounded below, so that a perfectly predictable series cannot send the loss to -infinity.
        log_scale = math.log(1e-3) + functional.softplus(raw - math.log(1e-3))
        return mean + inputs[..., :1], log_scale

    def _score(self, table: Table, forecasts: Sequence[Forecasts], part: str) -> Metrics:
        ahead = np.arange(self.options.horizon)
        rows = self._rows(table, part)
        # the forecasts of a row are those made 1 to h rows before; before row 0 none is scored
        made = [
            forecast.quantiles[
                np.maximum(np.arange(own.start, own.stop)[:, None] - 1 - ahead, 0), ahead
            ]
            for forecast, own in zip(forecasts, rows, strict=True)
        ]
        return score_forecasts(
            self._splits(table), rows, made, self.options.levels, season=table.format.season
        )

    def _rows(self, table: Table, part: str) -> list[slice]:
        place = self.parts.index(part)
        return [_parts(series, self.options.fractions)[place] for series in table.series]

    def _splits(self, table: Table) -> list[Split]:
        step, months = table.format.step_us, table.format.step_months
        found = []
        for series in table.series:
            train, validation, *_ = _parts(series, self.options.fractions)
            first = np.arange(len(series)) == 0
            position = np.cumsum(steps_between(series.time, first, step, months))
            found.append(Split(series.y, train, validation, series.restarts, position))
        return found


def _parts(series: Series, fractions: tuple[float, ...]) -> tuple[slice, ...]:
    try:
        return split_rows(len(series), fractions)
    except DataError as error:
        raise DataError(f"series {series.unique_id!r}: {error}") from None
