"""A forecasting run without torch: from rows to features, and from outputs to quantiles.

Rows, grid, features and scales are those of every other way of running it (`stream.forecast_rows`,
`tasks.features`); what the head's outputs mean is said here once more in NumPy, as
`tasks.forecast.ForecastTask` says it in torch.
"""

import math
from typing import Any

import numpy as np

from throughtime.data.sequences import Series
from throughtime.errors import BundleError
from throughtime.runtime.config import read_forecast_options, read_table_format
from throughtime.runtime.layer import Array, softplus
from throughtime.runtime.model import Network
from throughtime.stream.forecast_rows import ForecastRows
from throughtime.tasks.features import FeatureReader
from throughtime.tasks.scaling import RobustScaler

_FIELDS = {"name", "options", "format", "scaler", "covariate_scaler"}
_LEAST_SCALE = np.float32(math.log(1e-3))
_LARGEST_LOG_SCALE = np.float32(math.log(1e6))


class Forecast:
    """What a forecasting run is asked for, and how it reads rows.

    Args:
        content: of `task` in `config.json`.

    Raises:
        BundleError: the content is not what a forecasting run writes.
    """

    name = "forecast"

    def __init__(self, content: dict[str, Any]) -> None:
        if set(content) != _FIELDS:
            raise BundleError(
                f"expected the fields {', '.join(sorted(_FIELDS))} as task of config.json, got "
                f"{', '.join(sorted(map(repr, content)))[:300]}; the file is not one that "
                "throughtime wrote"
            )
        self.options = read_forecast_options(content["options"])
        self.features = FeatureReader(
            read_table_format(content["format"]),
            RobustScaler.from_json(content["scaler"]),
            RobustScaler.from_json(content["covariate_scaler"]),
            self.options.horizon,
        )
        self.normal: Array | None = None
        if self.options.head == "gaussian":
            # Loaded here, since half a megabyte of library comes with it.
            from statistics import NormalDist

            quantiles = map(NormalDist().inv_cdf, self.options.levels)
            self.normal = np.array(list(quantiles), np.float32)

    def sizes(self) -> tuple[int, int]:
        """Return F and O that a model for this has."""
        each = 2 if self.normal is not None else len(self.options.levels)
        return self.features.size, each * self.options.horizon

    def scaled_quantiles(self, outputs: Array, inputs: Array) -> Array:
        """Return quantiles (..., h, Q), in order, in the scale of the inputs.

        Args:
            outputs: (..., O).
            inputs: (..., F), the features the outputs were made from.
        """
        horizon, last = self.options.horizon, inputs[..., :1]
        if self.normal is None:
            shape = (*outputs.shape[:-1], horizon, len(self.options.levels))
            ordered: Array = np.sort(outputs.reshape(shape) + last[..., None], axis=-1)
            return ordered
        pairs = outputs.reshape(*outputs.shape[:-1], horizon, 2)
        mean, raw = pairs[..., 0] + last, pairs[..., 1]
        log_scale = np.minimum(_LEAST_SCALE + softplus(raw - _LEAST_SCALE), _LARGEST_LOG_SCALE)
        spread: Array = mean[..., None] + np.exp(log_scale)[..., None] * self.normal
        return spread

    def answer(self, network: Network, sample: dict[str, Array]) -> dict[str, Array]:
        """Return the features (T, F) of a sample and the forecasts (T, h, Q) in its units.

        Args:
            network: the model.
            sample: `unique_id`, `y`, `covariates` and `restarts`, as they were recorded.
        """
        y = np.asarray(sample["y"])
        series = Series(
            unique_id="".join(map(chr, sample["unique_id"].tolist())),
            time=np.arange(len(y)),
            y=y,
            covariates=np.asarray(sample["covariates"]),
            filler=np.zeros(len(y), dtype=bool),
            restarts=np.asarray(sample["restarts"]),
        )
        features = self.features.inputs(series)
        outputs, _ = network.run(features[None], resets=series.restarts[None])
        scaled = self.scaled_quantiles(outputs[0], features).astype(np.float64)
        return {
            "features": features,
            "quantiles": self.features.scaler.undo(series.unique_id, scaled),
        }


class ForecastReader(ForecastRows):
    """Reads rows of a forecasting run.

    Args:
        task: the run's.
        network: the run's model.
    """

    def __init__(self, task: Forecast, network: Network) -> None:
        super().__init__(task.features, task.options.levels)
        self.task = task
        self.network = network

    def begin(self) -> dict[str, Array]:
        """Return the state before a first step, of one lane."""
        return self.network.initial_state(1)

    def advance(
        self, features: Array, state: dict[str, Array], *, reset: bool
    ) -> tuple[Array, dict[str, Array]]:
        """Take one step."""
        inputs = features[None]
        flag = np.ones(1, dtype=bool) if reset else None
        outputs, state = self.network.step(inputs, state, reset=flag)
        with np.errstate(all="ignore"):
            scaled = self.task.scaled_quantiles(outputs, inputs)[0]
        return scaled.astype(np.float64), state
