"""What training is asked to do: budget, windows, optimiser."""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from throughtime.errors import OptionError

_UNITS = {
    "s": ("seconds", 1), "sec": ("seconds", 1), "seconds": ("seconds", 1),
    "m": ("seconds", 60), "min": ("seconds", 60), "minutes": ("seconds", 60),
    "h": ("seconds", 3600), "hours": ("seconds", 3600),
    "step": ("steps", 1), "steps": ("steps", 1),
    "epoch": ("epochs", 1), "epochs": ("epochs", 1),
}  # fmt: skip


class Budget(BaseModel):
    """How long to train: so many seconds, optimiser steps or epochs.

    Seconds are those of training with its validations and checkpoints; reading the data and the
    evaluation of the finished model are not counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["seconds", "steps", "epochs"]
    amount: float = Field(gt=0, allow_inf_nan=False)

    @classmethod
    def parse(cls, text: str | int | float) -> "Budget":
        """Read a budget such as `60s`, `5min`, `500steps` or `3epochs`; a number says no unit.

        Raises:
            OptionError: when the text is none.
        """
        form = r"\s*([0-9]{0,12}\.?[0-9]{1,12})\s*([a-z]+)\s*"
        match = re.fullmatch(form, text) if isinstance(text, str) else None
        kind, factor = _UNITS.get(match[2], (None, 0)) if match else (None, 0)
        if match is None or kind is None:
            raise OptionError(
                f"expected a budget such as 60s, 5min, 500steps or 3epochs, got {text!r}"
            )
        amount = float(match[1]) * factor
        if amount <= 0 or (kind != "seconds" and amount != int(amount)):
            whole = "" if kind == "seconds" else "a whole number of "
            raise OptionError(f"expected a budget of {whole}{kind} above zero, got {text!r}")
        return cls.model_validate({"kind": kind, "amount": amount})

    def __str__(self) -> str:
        return f"{self.amount:g}{'s' if self.kind == 'seconds' else ' ' + self.kind}"


class TrainingConfig(BaseModel):
    """How a model is trained.

    Attributes:
        budget: how long.
        lanes: B, most lanes in a window.
        steps: T, steps of a window, as far as gradients reach back; under full BPTT those of a
            whole lane.
        bptt: "truncated" carries the state from window to window and cuts the gradient there;
            "full" takes whole lanes as windows.
        chunks: under full BPTT, recompute the forward pass in so many chunks instead of keeping
            it: the same gradient with the memory of one chunk.
        learning_rate: the highest; reached after the warm-up, then falling along a cosine.
        weight_decay: of AdamW, on weight matrices.
        clip: the norm beyond which the gradient is scaled down.
        patience: stop after so many validations without improvement; None never stops early.
        seed: of everything random.
        watch_gradients: whether gradients through time are measured at each validation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: Budget
    lanes: int = Field(ge=1, le=1_000_000)
    steps: int = Field(ge=1, le=1_000_000_000)
    bptt: Literal["truncated", "full"] = "truncated"
    chunks: int = Field(default=1, ge=1)
    learning_rate: float = Field(gt=0, le=10)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    patience: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    watch_gradients: bool = False

    @field_validator("budget", mode="before")
    @classmethod
    def _read_budget(cls, value: Any) -> Any:
        return Budget.parse(value) if isinstance(value, str) else value
