"""An nn.LSTM that was trained elsewhere, run window by window and step by step."""

import torch
from torch import nn

import throughtime as tt

module = nn.LSTM(8, 32, num_layers=2, batch_first=True).eval()
layer = tt.from_torch(module)

x = torch.randn(4, 120, 8)
expected, _ = module(x)

state = layer.initial_state(4)
outputs = []
for start in range(0, 120, 30):
    with torch.no_grad():
        y, state = layer(x[:, start : start + 30], state)
    outputs.append(y)
torch.testing.assert_close(torch.cat(outputs, dim=1), expected)

resets = torch.zeros(4, 120, dtype=torch.bool)
resets[:, 60] = True
y, _ = layer(x, resets=resets)
fresh, _ = module(x[:, 60:])
torch.testing.assert_close(y[:, 60:], fresh)
print("the same numbers, with the state carried and with a reset in the middle")
