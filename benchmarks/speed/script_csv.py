"""What a user would write to see gradients on a data file of their own: pandas, nn.Sequential and a loop.

    python -m benchmarks.speed.script_csv FILE DEPTH WIDTH BATCH STEPS SEEDS

The norm of each weight's gradient in every step, by `.norm().item()`; the validation accuracy once, at the end. Split,
standardisation and initial weights are gradlab's way of doing them, as few lines of NumPy and torch.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from benchmarks.speed.script import make_model


def main(path: str, *sizes: str) -> None:
    depth, width, batch, steps, seeds = map(int, sizes)
    frame = pd.read_csv(path)
    y = frame.pop("label").to_numpy()
    x = frame.to_numpy(dtype=np.float32)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order], y[order]
    held_out = len(y) // 5
    mean, std = x[held_out:].mean(axis=0), x[held_out:].std(axis=0)
    x = (x - mean) / np.where(std > 0, std, 1)
    x_val, y_val = torch.from_numpy(x[:held_out]), torch.from_numpy(y[:held_out])
    x_train, y_train = torch.from_numpy(x[held_out:]), torch.from_numpy(y[held_out:])
    norms: list[dict[str, float]] = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = make_model("relu", depth, width, x.shape[1], int(y.max()) + 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
        rows = torch.randperm(len(y_train))
        for step in range(steps):
            start = step * batch % (len(rows) - batch)
            chosen = rows[start : start + batch]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x_train[chosen]), y_train[chosen])
            loss.backward()
            norms.append(
                {
                    name: parameter.grad.norm().item()
                    for name, parameter in model.named_parameters()
                    if name.endswith("weight") and parameter.grad is not None
                }
            )
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(x_val).argmax(dim=1) == y_val).float().mean().item()
        print(seed, accuracy, norms[-1])


if __name__ == "__main__":
    main(*sys.argv[1:])
