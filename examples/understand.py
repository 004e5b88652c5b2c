"""How far back does a layer see? Gradients by lag, exponents, memory, gates, and a what-if."""

import torch

import throughtime as tt

torch.manual_seed(0)
x = torch.randn(16, 120, 4)
layers = {
    "LSTM, forget bias 0": tt.LSTM(4, 64, forget_bias=0.0),
    "LSTM, memory=100": tt.LSTM(4, 64, memory=100),
    "GRU": tt.GRU(4, 64),
}
for name, layer in layers.items():
    found = tt.inspect.gradient_by_lag(layer, x, lambda y: y[:, -1].sum())
    exponent = float(tt.inspect.lyapunov_exponents(layer, x).mean())
    capacity = tt.inspect.memory_capacity(layer)
    print(
        f"{name:20} gradients halve in {found.half_life:6.1f} steps, "
        f"Lyapunov exponent {exponent:+.3f}, holds {capacity.total:4.1f} inputs"
    )

# The gates and cells of every step, of any model with recurrent layers in it.
layer = layers["LSTM, memory=100"]
seen = tt.inspect.replay(layer, x)
print("forget gates, least to most:", *(f"{each:.2f}" for each in seen["f"].aminmax()))


# What if the first cell had been empty at step 60?
def empty(state):
    c = state.c.clone()
    c[:, 0] = 0
    return state._replace(c=c)


y, _ = layer(x)
other, _ = tt.inspect.run_patched(layer, x, {60: empty})
change = (other - y).norm(dim=2).mean(0).detach()
print("change 0, 20 and 50 steps later:", *(f"{change[t]:.4f}" for t in (60, 80, 110)))
