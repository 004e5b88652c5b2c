"""Whether one number, known before training, says how fast gradients vanish or explode."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from throughtime.inspect import gradient_by_lag, lyapunov_exponents
from throughtime.inspect.picture import BLUE, ORANGE, SERIES
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question
from throughtime.layers import GRU, LSTM, RNN, from_torch
from throughtime.recurrent import Recurrent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEATURES = 4
SHOWN = 5
"""Every so many lags are in the picture."""


def orthogonal(hidden: int, gain: float) -> RNN:
    """Return an RNN whose recurrent matrix turns, and stretches by a gain."""
    layer = RNN(FEATURES, hidden)
    nn.init.orthogonal_(layer.weight_hh, gain)
    return layer


def configurations(hidden: int) -> dict[str, Recurrent]:
    """Return untrained layers, from those that forget to those that explode."""
    return {
        "RNN of torch": from_torch(nn.RNN(FEATURES, hidden, batch_first=True)),
        "GRU of torch": from_torch(nn.GRU(FEATURES, hidden, batch_first=True)),
        "RNN, gain 1": orthogonal(hidden, 1.0),
        "LSTM, memory 100": LSTM(FEATURES, hidden, memory=100),
        "GRU, memory 100": GRU(FEATURES, hidden, memory=100),
        "RNN, gain 2": orthogonal(hidden, 2.0),
        "RNN, gain 4": orthogonal(hidden, 4.0),
    }


def spectral_radius(layer: Recurrent) -> float:
    """Return the logarithm of the largest eigenvalue of the map from h to the new candidate."""
    weights = layer.get_parameter("weight_hh").detach()
    gates = torch.split(weights, layer.output_size)
    # An LSTM's candidate is the third of its gates i, f, g, o; a GRU's the last of r, z, n.
    candidate = gates[2] if len(gates) > 1 else gates[0]
    return float(torch.linalg.eigvals(candidate).abs().max().log())


def run(seed: int, *, hidden: int, steps: int) -> Outcome:
    """Predict the slope of each layer's gradients, and measure it."""
    torch.manual_seed(seed)
    x = torch.randn(8, steps, FEATURES)
    found: dict[str, dict[str, Any]] = {}
    for name, layer in configurations(hidden).items():
        gradients = gradient_by_lag(layer, x, lambda y: y[:, -1].sum())
        found[name] = {
            "exponent": float(lyapunov_exponents(layer, x).mean()),
            "radius": spectral_radius(layer),
            "slope": gradients.slope,
            "norms": gradients.median[::SHOWN].tolist(),
        }
    error = {
        by: max(abs(each[by] - each["slope"]) for each in found.values())
        for by in ("exponent", "radius")
    }
    return Outcome(error["exponent"], error["radius"], {"layers": found})


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint gradients by lag with the slopes predicted, and predictions against measurements."""
    layers = outcomes[0].details["layers"]
    for place, (name, each) in enumerate(layers.items()):
        lags = torch.arange(len(each["norms"])) * SHOWN
        colour = SERIES[place % len(SERIES)]
        norms = torch.tensor(each["norms"], dtype=torch.float64)
        norms = norms / norms[0]
        line = ":" if place >= len(SERIES) else "-"
        axes[0].plot(lags, norms, line, color=colour, label=name)
        axes[0].plot(lags, (each["exponent"] * lags).exp(), "--", color=colour, linewidth=0.8)
    axes[0].set(yscale="log", xlabel="lag (steps back)", ylabel="norm of dL/dh, first is 1")
    axes[0].set_title("lines: measured; dashes: predicted (first seed)")
    axes[0].legend(fontsize=6)
    said = [each for outcome in outcomes for each in outcome.details["layers"].values()]
    slopes = [each["slope"] for each in said]
    parts = (
        ("radius", ORANGE, "log of the spectral radius"),
        ("exponent", BLUE, "Lyapunov exponent"),
    )
    for by, colour, label in parts:
        predicted = [each[by] for each in said]
        axes[1].plot(slopes, predicted, "o", ms=4, alpha=0.7, color=colour, label=label)
    axes[1].axline((0, 0), slope=1, color="grey", linestyle="--", linewidth=1)
    axes[1].set(xlabel="measured slope (nats a step)", ylabel="predicted slope (nats a step)")
    axes[1].legend()


EXPERIMENT = Experiment(
    name="lyapunov-predicts-gradients",
    section="pitfalls",
    claim="The largest Lyapunov exponent of an untrained layer, measured by running it forward, "
    "says how fast its gradients shrink or grow with each step back. The eigenvalues of its "
    "recurrent matrix do not.",
    question=Question(
        "The recurrent matrix of a tanh network is a rotation times 2: each step stretches the "
        "state by 2 before the tanh. By which factor does a gradient change with each step back?",
        (
            "by 2, since it goes back through the same matrix",
            "it grows by about a tenth: the slope of the tanh takes back nearly all of it",
            "it shrinks, as in any tanh network",
        ),
        1,
    ),
    figure="largest difference between exponent and measured slope over 7 layers, nats a step",
    interval=(0.0, 0.08),
    control="the log of the spectral radius of the recurrent matrix in place of the exponent",
    run=run,
    draw=draw,
    meaning="Gradients go back through the derivative of each step, which is the recurrent matrix "
    "times what the nonlinearity and the gates let through where the states are. The exponent "
    "is the mean of just that. Below zero, gradients halve in ln 2 / |exponent| steps: choose the "
    "bias or the gain so that this is about as long as what should be remembered.",
    page="The page says that gradients vanish or explode. Which of the two, and how fast, can be "
    "measured before the first update.",
    knobs={
        "hidden": Knob(32, "units of each layer", least=4, most=128),
        "steps": Knob(120, "steps that the layers are run", least=40, most=200),
    },
    quick={"steps": 40, "hidden": 8},
    columns=2,
)
