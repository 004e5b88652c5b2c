"""One thread or all, where torch runs it: the time of a training step. See `kernels.threads`.

python benchmarks/threads.py
"""

import statistics
import time

import torch

import throughtime as tt

SIZES = (
    ("gru", 28, 64, 2, 64),
    ("gru", 32, 64, 8, 128),
    ("gru", 32, 64, 64, 256),
    ("lstm", 32, 64, 8, 64),
    ("lstm", 32, 64, 64, 128),
    ("lstm", 32, 64, 128, 256),
    ("lstm", 32, 128, 128, 384),
)


def milliseconds(layer: torch.nn.Module, x: torch.Tensor) -> float:
    began = time.perf_counter()
    with tt.kernels.use("torch"):
        y, _ = layer(x)
    y.sum().backward()
    return 1e3 * (time.perf_counter() - began)


def main() -> None:
    most = torch.get_num_threads()
    print(f"| layer, B, T, F, H | multiply-adds a step | 1 thread, ms | {most} threads, ms |")
    print("|---|---|---|---|")
    for name, lanes, steps, features, size in SIZES:
        layer = tt.layers.make(name, features, size)
        x = torch.randn(lanes, steps, features)
        taken: dict[int, list[float]] = {1: [], most: []}
        for _ in range(15):
            for threads in taken:
                torch.set_num_threads(threads)
                taken[threads].append(milliseconds(layer, x))
        work = lanes * sum(parameter.numel() for parameter in layer.parameters())
        shown = " | ".join(f"{statistics.median(times):.1f}" for times in taken.values())
        print(f"| {name}, {lanes}, {steps}, {features}, {size} | {work / 1e6:.1f} M | {shown} |")


if __name__ == "__main__":
    main()
