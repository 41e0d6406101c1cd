"""A builder of tables from the definitions: profiles that are known, so that verdicts and numbers must follow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import pytest

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 250, 500, 1000)

Tables = tuple[pd.DataFrame, pd.DataFrame]


def build_cell(
    *,
    depth: int = 10,
    decay: float = 1.0,
    seeds: int = 3,
    steps: Sequence[int] = STEPS,
    learns: bool = True,
    activation: str = "tanh",
    cell: str = "c0ffee",
    layers_more: Mapping[str, Any] | None = None,
    change: Callable[[pd.DataFrame, pd.DataFrame], None] | None = None,
) -> Tables:
    """Layers and steps tables of one cell whose delta_rms is 0.1 * decay^distance at every record.

    layers_more: columns set to a value in every hidden row; change: edits the two frames in place at the end.
    """
    columns = {
        "cell": cell, "activation": activation, "depth": depth, "width": 64, "init": "auto", "norm": "none",
        "residual": "none", "optimizer": "sgd", "lr": 0.03, "dataset": "digits",
    }  # fmt: skip
    rows, runs = [], []
    for seed in range(seeds):
        for i, step in enumerate(steps):
            done = i / max(len(steps) - 1, 1) if learns else 0.0
            for layer in range(1, depth + 2):
                output = layer == depth + 1
                row: dict[str, Any] = {**columns, "seed": seed, "step": step, "layer": layer}
                row |= {"name": "output" if output else f"hidden_{layer}", "fan_in": 64, "batch": 64}
                row |= {
                    "fan_out": 10 if output else 64,
                    "outputs": 10 if output else 64,
                    "nonfinite": 0,
                    "weight_grad_norm": 0.1,
                }
                row |= {"weight_grad_mean_abs": 1e-3, "grad_zero_fraction": 0.0, "update_ratio": 1e-3}
                row |= {"delta_rms": 0.3 if output else 0.1 * decay ** (depth - layer)}
                row |= {"weight_norm": 8.0, "z_mean": 0.0, "z_std": 1.0}
                if not output:
                    row |= {"h_mean": 0.0, "h_rms": 0.7, "zero_fraction": 0.0, "saturated_fraction": 0.02}
                    row |= {"slope_sq": 0.6, "batch_dead_fraction": 0.0, "dead_fraction": 0.0}
                    row |= {
                        "low_activity_fraction": 0.0,
                        "delta_rms_predicted": 0.1 * decay ** (depth - layer),
                    }
                    more = dict(layers_more or {})
                    if "dead_fraction" in more:  # what is dead on the probe is so on a batch
                        more.setdefault("batch_dead_fraction", more["dead_fraction"])
                    row |= more
                rows.append(row)
            run = {"train_loss": 2.3 - 2.2 * done, "train_accuracy": 0.1 + 0.88 * done}
            run |= {
                "val_loss": 2.3 - 2.0 * done,
                "val_accuracy": 0.1 + 0.83 * done + 0.001 * seed * done,
                "val_r2": float("nan"),
            }
            runs.append(
                {**columns, "seed": seed, "step": step, **run, "learning_rate": 0.03, "grad_norm": 1.0}
            )
    frames = pd.DataFrame(rows), pd.DataFrame(runs)
    if change is not None:
        change(*frames)
    return frames


@pytest.fixture
def cell() -> Callable[..., Tables]:
    return build_cell
