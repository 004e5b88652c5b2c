"""A layer of one's own in ten lines, held to the eight laws, then streamed."""

import torch

import throughtime as tt


class Leaky(tt.Recurrent):
    """An integrator that leaks."""

    def __init__(self, input_size: int, size: int) -> None:
        super().__init__(input_size, size)
        self.inner = torch.nn.Linear(input_size, size)
        self.leak = torch.nn.Parameter(torch.full((size,), 0.1))

    def initial_state(self, batch_size, *, device=None, dtype=None):
        """Start empty."""
        return self.leak.new_zeros(batch_size, self.output_size, device=device, dtype=dtype)

    def update(self, x, state):
        """Move a little towards the input."""
        state = state + self.leak * (torch.tanh(self.inner(x)) - state)
        return state, state


layer = Leaky(3, 8)
print(tt.testing.check_recurrent(layer))

x = torch.randn(2, 50, 3)
whole, _ = layer(x, lengths=torch.tensor([50, 31]))
state = layer.initial_state(2)
for t in range(31):
    y, state = layer.step(x[:, t], state)
torch.testing.assert_close(y, whole[:, 30])
print("step by step gives what the whole sequence gave")
