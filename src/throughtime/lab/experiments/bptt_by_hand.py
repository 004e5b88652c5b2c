"""Backpropagation through time, written out, against what autograd finds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

import throughtime as tt
from throughtime.inspect import picture
from throughtime.lab.experiment import Experiment, Knob, Outcome, Question

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEATURES, LANES = 3, 8


def run_forward(layer: tt.RNN, x: Tensor) -> list[Tensor]:
    """Return the states (B, H) before the first step of x (B, T, F) and after every step."""
    states = [x.new_zeros(len(x), layer.hidden_size)]
    for t in range(x.shape[1]):
        total = x[:, t] @ layer.weight_ih.T + states[-1] @ layer.weight_hh.T
        states.append(torch.tanh(total + layer.bias_ih + layer.bias_hh))
    return states


def run_backward(layer: tt.RNN, x: Tensor, states: list[Tensor], error: Tensor) -> list[Tensor]:
    """Return the gradient of all weights, by how many steps the error has been followed back.

    Args:
        layer: whose weights they are.
        x: (B, T, F).
        states: T + 1 of them, as `run_forward` returns them.
        error: derivative of the loss by the last state, (B, H).
    """
    by_input, by_state = torch.zeros_like(layer.weight_ih), torch.zeros_like(layer.weight_hh)
    by_bias = torch.zeros_like(layer.bias_ih)
    found = []
    for t in reversed(range(x.shape[1])):
        # Through tanh, whose slope follows from what it gave.
        error = error * (1 - states[t + 1] ** 2)
        # Every step used the same weights, so what each step says about them is added.
        by_input = by_input + error.T @ x[:, t]
        by_state = by_state + error.T @ states[t]
        by_bias = by_bias + error.sum(0)
        # Through the recurrent weights, to the state of the step before.
        error = error @ layer.weight_hh
        found.append(torch.cat([each.flatten() for each in (by_input, by_state, by_bias, by_bias)]))
    return found


def run(seed: int, *, steps: int, units: int) -> Outcome:
    """Compare both gradients of a loss of the last state, step back by step back."""
    torch.manual_seed(seed)
    layer = tt.RNN(FEATURES, units).double()
    x = torch.randn(LANES, steps, FEATURES, dtype=torch.float64)
    wanted = torch.rand(LANES, units, dtype=torch.float64)

    y, _ = layer(x)
    loss = ((y[:, -1] - wanted) ** 2).sum()
    gradients = torch.autograd.grad(loss, list(layer.parameters()))
    by_autograd = torch.cat([each.flatten() for each in gradients])

    with torch.no_grad():
        states = run_forward(layer, x)
        by_hand = run_backward(layer, x, states, 2 * (states[-1] - wanted))
        apart = [float((each - by_autograd).norm() / by_autograd.norm()) for each in by_hand]
    return Outcome(apart[-1], apart[0], {"apart": apart})


def draw(outcomes: Sequence[Outcome], axes: "Sequence[Axes]") -> None:
    """Paint how far the gradient by hand is from autograd's, by how far back it was followed."""
    for number, outcome in enumerate(outcomes):
        apart = outcome.details["apart"]
        back = range(1, len(apart) + 1)
        label = "a seed each" if number == 0 else None
        axes[0].semilogy(back, apart, ".-", color=picture.SERIES[number % 6], label=label)
        axes[0].locator_params(axis="x", integer=True)
    axes[0].axhline(2**-52, linestyle="--", color=picture.GREY, label="rounding of float64")
    axes[0].set(
        xlabel="steps that the error is followed back",
        ylabel="relative difference from autograd",
    )
    axes[0].legend(loc="center left")


EXPERIMENT = Experiment(
    name="bptt-by-hand",
    section="build-up",
    claim="Backpropagation through time is a loop of a few lines: go back from the last step, "
    "carry the error through the recurrent weights, and add up what every step says about the "
    "shared weights. That is autograd's gradient to the last digits; with the way through the "
    "state cut it is another gradient.",
    question=Question(
        "The loss is of the last of 20 states. By hand, its error is followed back for 19 steps "
        "and dropped before the twentieth. How near is that to autograd's gradient?",
        (
            "equal up to rounding: after 19 steps nothing is left",
            "near, but off by far more than rounding; only all 20 steps give the same",
            "as far off as after one step: all or nothing",
        ),
        1,
    ),
    figure="relative difference between the gradient by hand and autograd's",
    interval=(0.0, 1e-12),
    control="the error stays in the last step: the way through the state is cut",
    run=run,
    draw=draw,
    meaning="Nothing is hidden in `backward()`: it needs the states of all steps, so memory grows "
    "with the length, and each step back is one more product with the recurrent weights. To "
    "detach the state is to drop the rest of the sum. What is dropped is small where products "
    "shrink, and then small is also what could have been learned from so far back.",
    page="The page has the errors themselves go to all steps. What goes back is a derivative, "
    "multiplied at every step; and it reaches the whole sequence only if nobody detaches the "
    "state, which everybody does where sequences are long.",
    knobs={
        "steps": Knob(20, "steps of the sequence", least=2, most=200),
        "units": Knob(16, "numbers in the state", least=1, most=128),
    },
    quick={"steps": 5, "units": 4},
)
