"""A training script with nn.GRU and packed sequences, before and after its one new line."""

import copy

import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import throughtime as tt


class Classifier(nn.Module):
    """Does a sequence of noise rise more than it falls?"""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.GRU(1, 16, num_layers=2, dropout=0.1, bidirectional=True)
        self.decide = nn.Linear(32, 2)

    def forward(self, sequences: list[torch.Tensor]) -> torch.Tensor:
        """Give two scores for each sequence, (B, 2)."""
        _, h_n = self.read(pack_sequence(sequences, enforce_sorted=False))
        return self.decide(torch.cat([h_n[-2], h_n[-1]], dim=1))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 40) -> list[float]:
    torch.manual_seed(1)
    losses = []
    for _ in range(steps):
        lengths = torch.randint(5, 24, (8,)).tolist()
        sequences = [torch.randn(n, 1) for n in lengths]
        labels = torch.tensor([int(each.sum() > 0) for each in sequences])
        loss = nn.functional.cross_entropy(model(sequences), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


torch.set_num_threads(1)  # a model this small is quickest so
torch.manual_seed(0)
before = Classifier()
after = copy.deepcopy(before)
optimizers = [torch.optim.Adam(model.parameters(), lr=0.02) for model in (before, after)]

tt.accelerate(after)  # the new line; an optimizer that was made before it is as good as ever

print(after)
print(tt.layers.backends(after))

wanted, got = train(before, optimizers[0]), train(after, optimizers[1])
torch.testing.assert_close(torch.tensor(got), torch.tensor(wanted), rtol=1e-3, atol=1e-3)
print(f"the same losses, dropout included: from {got[0]:.3f} to {got[-1]:.3f}")

before.load_state_dict(after.state_dict())
print("and the same keys in state_dict:", list(before.state_dict())[:2], "...")
