"""By what factor a step back in time multiplies a gradient, for several layers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime import layers
from throughtime.inspect import picture
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.layers.rnn import RNNState
from throughtime.recurrent import Recurrent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEATURES, LANES = 4, 16


class Unsquashed(layers.RNN):
    """An RNN without tanh: its orthogonal weights turn a gradient and leave its length."""

    def advance(self, enter: Tensor, hidden: Tensor, state: RNNState) -> tuple[Tensor, RNNState]:
        """One step from the shares of input and state."""
        h = enter + hidden
        return h, RNNState(h)


def made(units: int, scale: float) -> dict[str, Recurrent]:
    """Return the layers that are compared, by a name that says how they begin."""
    scaled = nn.RNN(FEATURES, units)
    scaled.get_parameter("weight_hh_l0").data.mul_(scale)
    return {
        "nn.RNN": tt.from_torch(nn.RNN(FEATURES, units)),
        "nn.LSTM": tt.from_torch(nn.LSTM(FEATURES, units)),
        "orthogonal RNN": tt.RNN(FEATURES, units),
        "LSTM, memory=100": tt.LSTM(FEATURES, units, memory=100),
        f"nn.RNN, weights x {scale:g}": tt.from_torch(scaled),
        "no tanh, orthogonal": Unsquashed(FEATURES, units),
    }


def run(seed: int, *, steps: int, units: int, scale: float) -> Outcome:
    """Measure the gradient of the last output by the state of every step before."""
    torch.manual_seed(seed)
    # Of float32, the largest gradients would be infinite and the smallest zero.
    x = torch.randn(LANES, steps, FEATURES, dtype=torch.float64)
    norms, factors = {}, {}
    for name, layer in made(units, scale).items():
        by_lag = tt.inspect.gradient_by_lag(layer.double(), x, lambda y: y[:, -1].sum())
        norms[name] = (by_lag.median / by_lag.median[0]).tolist()
        factors[name] = float(torch.tensor(by_lag.slope).exp())
    details = {"norms": norms, "factors": factors}
    return Outcome(factors["nn.RNN"], factors["no tanh, orthogonal"], details)


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint the gradient by lag, a line for every layer and seed."""
    names = list(outcomes[0].details["norms"])
    for color, name in zip(picture.SERIES, names, strict=True):
        factors = [outcome.details["factors"][name] for outcome in outcomes]
        label: str | None = f"{name}: {sum(factors) / len(factors):.2f} a step"
        for outcome in outcomes:
            norms = outcome.details["norms"][name]
            axes[0].semilogy(norms, color=color, alpha=0.7, label=label)
            label = None
    axes[0].set(xlabel="steps back", ylabel="gradient, relative to the last step's")
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.45, 1), ncols=2)


EXPERIMENT = Experiment(
    name="vanishing-and-exploding",
    section="build-up",
    claim="Each step back in time multiplies a gradient by about the same factor, so over many "
    "steps it vanishes or explodes like a power. For torch's nn.RNN as it is made the factor is "
    "below 0.75, and for its nn.LSTM hardly better; it is 1 where weights keep lengths and nothing "
    "squashes the state, and near 1 where gates begin open.",
    question=Question(
        "Neither is trained yet. Over 50 steps back, the gradient in torch's nn.RNN shrinks to "
        "less than a billionth. What about that of the cells in torch's nn.LSTM?",
        (
            "it stays about as large: that is what the cells are for",
            "it shrinks to about a hundredth",
            "it shrinks to less than a billionth, too: gates begin half shut",
        ),
        2,
    ),
    figure="what a step back multiplies the gradient by, in nn.RNN as it is made",
    interval=(0.45, 0.75),
    control="orthogonal recurrent weights and no tanh: nothing shrinks or stretches",
    run=run,
    draw=draw,
    meaning="How far back a network can learn is set before it learns anything, by how its weights "
    "and gate biases begin. Choose them for the lags that matter: orthogonal recurrent weights "
    "for ten or twenty steps, or more where inputs are so small that tanh hardly bends; `memory=` "
    "of an LSTM or a GRU for hundreds. Clip, since what explodes does so within a few steps.",
    page="The page makes this a matter of long sequences and of plain RNNs, cured by LSTM and GRU. "
    "It is a matter of how weights begin: torch's nn.LSTM loses its gradient about as fast as "
    "nn.RNN until its forget gates are biased open, and a plain RNN can begin with weights that "
    "make it explode instead.",
    knobs={
        "steps": Knob(60, "steps of the sequence", least=5, most=300),
        "units": Knob(64, "numbers in the state", least=8, most=128),
        "scale": Knob(6.0, "what nn.RNN's recurrent weights are multiplied by", least=0.1, most=20),
    },
    quick={"steps": 8, "units": 8},
)
