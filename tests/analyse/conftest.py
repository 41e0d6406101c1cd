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
                "eval_rows": 360,
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


OWN_STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 200)


def build_own(
    *,
    depth: int = 4,
    decay: float = 1.0,
    seeds: int = 1,
    steps: Sequence[int] = OWN_STEPS,
    end: float = 0.1,
    baseline: float = 1.0,
    activation: str = "tanh",
    facts: Mapping[str, Any] | None = None,
    change: Callable[[pd.DataFrame, pd.DataFrame], None] | None = None,
) -> Tables:
    """Tables as `gradlab.Recorder` gives them of a model of one's own: no cell columns but the depth, and what is known
    of the task in steps.csv. The probe's loss falls from 1.1 times `baseline` to `end`; `end=baseline` learns nothing.

    facts: columns of steps.csv set to a value, or to one a record; change: edits the two frames in place at the end.
    """
    first = 1.1 * baseline
    task = {
        "baseline_loss": baseline, "output_min": -2.0, "output_max": 2.0, "output_rms": 0.9, "output_spread": 0.8,
        "output_units": 3, "output_shape": "64 x 3", "output_activation": "", "criterion": "mse_loss",
        "target_kind": "numbers", "target_shape": "64 x 3", "target_min": -2.1, "target_max": 2.2, "target_rms": 1.05,
        "target_spread": 0.98, "target_distinct": 64, "target_nonfinite": 0, "input_rms": 1.02, "input_spread": 0.99,
        "input_ratio": 1.4, "input_constant": 0.0, "input_nonfinite": 0, "learning_rate": 0.03,
        "carried_gradients": 0.0, "optimizer_used": "SGD", "grad_norm": 1.3,
    }  # fmt: skip
    rows, runs = [], []
    for seed in range(seeds):
        for place, step in enumerate(steps):
            for layer in range(1, depth + 2):
                readout = layer == depth + 1
                delta = 0.3 if readout else 0.1 * decay ** (depth - layer)
                row: dict[str, Any] = {"depth": depth, "seed": seed, "step": step, "layer": layer}
                row |= {"name": f"{2 * (layer - 1)}", "fan_in": 64, "fan_out": 3 if readout else 64}
                row |= {"layer_activation": "" if readout else activation, "trains": "yes", "batch": 64}
                row |= {"weight_grad_norm": 0.11, "weight_norm": 8.0, "update_ratio": 1.7e-3}
                row |= {"delta_rms": delta, "z_mean": 0.0, "z_std": 1.0, "nonfinite": 0, "slope_sq": 0.6}
                row |= {"zero_fraction": 0.0, "saturated_fraction": 0.02, "dead_fraction": 0.0}
                row |= {"batch_dead_fraction": 0.0}
                if readout:
                    row |= dict.fromkeys(("zero_fraction", "saturated_fraction", "slope_sq"), float("nan"))
                    row |= dict.fromkeys(("dead_fraction", "batch_dead_fraction"), float("nan"))
                rows.append(row)
            done = min(2 * place / max(len(steps) - 1, 1), 1.0)
            loss = first + (end - first) * done
            runs.append(
                {"depth": depth, "seed": seed, "step": step, "train_loss": loss, "probe_loss": loss, **task}
            )
    frames = pd.DataFrame(rows), pd.DataFrame(runs)
    for name, value in (facts or {}).items():
        frames[1][name] = value
    if change is not None:
        change(*frames)
    return frames


@pytest.fixture
def own() -> Callable[..., Tables]:
    return build_own
