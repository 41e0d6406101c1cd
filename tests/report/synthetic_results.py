"""Made-up results in the shape of real ones, from a formula: a test knows every number in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from gradlab.tables.cell import CELL
from gradlab.tables.layers import LAYERS
from gradlab.tables.spec import TableSpec, names
from gradlab.tables.steps import STEPS as STEP_TABLE
from gradlab.tables.summary import SUMMARY

STEPS = (0, 1, 4, 20, 100, 1000)
FACTORS = {"sigmoid": 0.12, "tanh": 0.7, "relu": 0.98, "linear": 1.1}


@dataclass(frozen=True)
class Made:
    """What an outcome has, as far as the reports read it."""

    layers: pd.DataFrame
    steps: pd.DataFrame
    summary: pd.DataFrame
    out: Path = Path("results/made")
    files: tuple[Path, ...] = (Path("results/made/layers.csv"), Path("results/made/summary.csv"))
    failed: tuple[Any, ...] = ()
    cached: bool = False
    plan: Any = field(default_factory=lambda: SimpleNamespace(best_over=None))


def delta(activation: str, depth: int, layer: int, seed: int, step: int) -> float:
    """delta_rms by the formula: a fixed factor a layer, 2 % and 8 % more for seeds 1 and 2, a little more a step."""
    return float(
        0.1
        * FACTORS.get(activation, 0.9) ** (depth - layer)
        * (1 + 0.02 * seed**2)
        * (1 + 0.1 * np.log1p(step))
    )


def cell_row(activation: str, depth: int, **more: object) -> dict[str, object]:
    row: dict[str, object] = {
        "cell": sha256(repr((activation, depth, *sorted(more.items()))).encode()).hexdigest()[:12],
        "activation": activation,
        "depth": depth,
        "width": 64,
        "init": "auto",
        "norm": "none",
        "residual": "none",
        "optimizer": "sgd",
        "lr": 0.03,
        "dataset": "digits",
    }
    return row | more


def make(
    activations: tuple[str, ...] = ("sigmoid",),
    depths: tuple[int, ...] = (20,),
    *,
    seeds: int = 3,
    steps: tuple[int, ...] = STEPS,
    **more: object,
) -> Made:
    layers, rows, summary = [], [], []
    for activation in activations:
        for depth in depths:
            cell = cell_row(activation, depth, **more)
            vanishing = FACTORS.get(activation, 0.9) ** depth < 1e-6
            for seed in range(seeds):
                for step in steps:
                    share = np.log1p(step) / np.log1p(1000)
                    record = cell | {"seed": seed, "step": step}
                    accuracy = 0.1 if vanishing else 0.1 + 0.85 * share - 0.003 * depth * share
                    rows.append(
                        record
                        | {
                            "train_loss": 2.3 - (0 if vanishing else 2.1 * share) + 0.01 * seed,
                            "train_accuracy": accuracy + 0.01,
                            "val_loss": 2.3 - (0 if vanishing else 2.0 * share) + 0.01 * seed,
                            "val_accuracy": accuracy - 0.002 * seed,
                            "learning_rate": 0.03 if step < steps[-1] else np.nan,
                            "grad_norm": 1.0,
                        }
                    )
                    for layer in range(1, depth + 2):
                        value = delta(activation, depth, layer, seed, step)
                        hidden = layer <= depth
                        layers.append(
                            record
                            | {
                                "layer": layer,
                                "name": f"hidden_{layer}" if hidden else "output",
                                "fan_in": 64,
                                "fan_out": 64 if hidden else 10,
                                "outputs": 64 if hidden else 10,
                                "layer_activation": activation if hidden else "",
                                "trains": "yes",
                                "path": "",
                                "into": "",
                                "joins": "",
                                "batch": 64,
                                "weight_grad_norm": 3 * value,
                                "bias_grad_norm": value,
                                "update_ratio": 0.03 * value,
                                "delta_rms": value,
                                "weight_gain": 1.1 if hidden else np.nan,
                                "slope_gain": FACTORS.get(activation, 0.9) / 1.1 if hidden else np.nan,
                                "h_rms": 0.5,
                                "zero_fraction": 0.0,
                                "saturated_fraction": 0.3 * layer / depth if hidden else np.nan,
                                "dead_fraction": (0.1 * share if activation == "relu" else 0.0)
                                if hidden
                                else np.nan,
                                "deaths": 0,
                                "nonfinite": 0,
                                "delta_rms_predicted": delta(activation, depth, layer, 0, 0) * 1.05
                                if step == 0
                                else np.nan,
                            }
                        )
            factor = FACTORS.get(activation, 0.9)
            verdict = "vanishing,not-learning" if vanishing else "healthy"
            summary.append(
                cell
                | {
                    "seeds": seeds,
                    "train_loss_mean": 2.31 if vanishing else 0.21,
                    "train_loss_ci95": 0.02,
                    "val_accuracy_mean": 0.1 if vanishing else 0.95 - 0.003 * depth,
                    "val_accuracy_ci95": 0.004,
                    "attenuation_mean": (depth - 1) * np.log10(factor),
                    "attenuation_ci95": 0.1,
                    "attenuation_last_mean": (depth - 1) * np.log10(factor),
                    "attenuation_weights_mean": (depth - 1) * np.log10(1.1),
                    "attenuation_slopes_mean": (depth - 1) * np.log10(factor / 1.1),
                    "decay_per_layer_mean": factor,
                    "decay_per_layer_ci95": 0.001,
                    "decay_per_layer_predicted": factor * 1.01,
                    "dead_fraction_max": 0.1 if activation == "relu" else 0.0,
                    "saturated_fraction_max": 0.3,
                    "verdict": verdict,
                    "verdict_seeds": ",".join(f"{seeds}/{seeds}" for _ in verdict.split(",")),
                    "advice": "try --activation relu --init he: the slope is 1" if vanishing else "",
                }
            )
    order = [*names(CELL), *(name for name in more if name not in names(CELL))]

    def frame(data: list[dict[str, Any]], table: TableSpec) -> pd.DataFrame:
        return pd.DataFrame(data).reindex(columns=order + [c for c in table.every if c not in order])

    return Made(frame(layers, LAYERS), frame(rows, STEP_TABLE), frame(summary, SUMMARY))


def own_model(depth: int = 1, seeds: int = 3) -> Made:
    """A user's model, as `gradlab watch` writes it."""
    return make(("net:make",), (depth,), seeds=seeds, steps=(0, 10), init="own", norm="own", residual="own")


def time_table(made: Made, length: int = 9) -> pd.DataFrame:
    """Two recurrent layers of the only cell that lose the gradient through time: l1 the faster, the first seed most."""
    rows = made.steps[["cell", "seed", "step"]].to_dict("records")
    return pd.DataFrame(
        row | {"layer": 1, "name": name, "time": time, "delta_rms": 1.0, "carried_predicted": np.nan,
               "carried": (rate * (1 + row["seed"])) ** (length - time)}
        for row in rows for name, rate in (("rnn.l0", 0.2), ("rnn.l1", 0.1)) for time in range(1, length + 1)
    )  # fmt: skip


def attention_table(made: Made) -> pd.DataFrame:
    """Three heads in each of two attentions of the only cell."""
    rows = made.steps[["cell", "seed", "step"]].to_dict("records")
    return pd.DataFrame(
        row | {"name": name, "head": head, "function": "softmax", "head_dim": 8, "keys": 8, "logit_max": 1.0,
               "entropy": 0.2 * head + 0.01 * row["seed"] + 0.001 * row["step"]}
        for row in rows for name in ("a", "b") for head in (1, 2, 3)
    )  # fmt: skip
