"""A training run of one replica a second time, in NumPy and float64: updates, clipping, learning rates, records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, pi

import numpy as np
from numpy.typing import NDArray
from reference.backprop import (
    Array,
    Net,
    accuracy,
    backprop,
    forward,
    loss_and_delta,
    measured_columns,
    update_columns,
)

from gradlab.activations import Activation
from gradlab.config import Training
from gradlab.data import Dataset


@dataclass
class Updates:
    """One parameter's optimiser, as PyTorch's documentation writes the algorithm; changes it in place."""

    training: Training
    state: dict[str, Array] = field(default_factory=dict)
    count: int = 0

    def apply(self, p: Array, g: Array, lr: float) -> None:
        name, decay, self.count = self.training.optimizer, self.training.weight_decay, self.count + 1
        usual = 0.9 if name in ("momentum", "nesterov") else 0.0
        momentum = usual if self.training.momentum is None else self.training.momentum
        zero = np.zeros_like(p)
        if name == "adamw":
            p -= lr * decay * p
        else:
            g = g + decay * p
        if name == "sgd":
            p -= lr * g
        elif name in ("momentum", "nesterov"):
            buffer = self.state["buffer"] = momentum * self.state.get("buffer", zero) + g
            p -= lr * (g + momentum * buffer if name == "nesterov" else buffer)
        elif name == "rmsprop":
            square = self.state["square"] = 0.99 * self.state.get("square", zero) + 0.01 * g**2
            step = g / (np.sqrt(square) + 1e-8)
            buffer = self.state["buffer"] = momentum * self.state.get("buffer", zero) + step
            p -= lr * buffer
        else:
            mean = self.state["mean"] = 0.9 * self.state.get("mean", zero) + 0.1 * g
            square = self.state["square"] = 0.999 * self.state.get("square", zero) + 0.001 * g**2
            mean_hat, square_hat = mean / (1 - 0.9**self.count), square / (1 - 0.999**self.count)
            p -= lr * mean_hat / (np.sqrt(square_hat) + 1e-8)


def learning_rate(training: Training, step: int) -> float:
    """Of update `step`: a linear rise over the warm-up, then constant, or down to 0 after the last update."""
    kind, _, parameter = training.schedule.partition(":warmup=")
    warmup = int(parameter or 0)
    if step < warmup:
        return training.lr * (step + 1) / warmup
    if kind == "constant":
        return training.lr
    share = (step - warmup) / (training.steps - warmup)
    return training.lr * ((1 - share) if kind == "linear" else (1 + cos(pi * share)) / 2)


@dataclass
class Record:
    """One record: `layers` one dict a layer, `scalars` the columns of steps.csv; what does not apply is absent."""

    step: int
    layers: list[dict[str, float]]
    scalars: dict[str, float]


def train(
    net: Net,
    activation: Activation,
    training: Training,
    data: Dataset,
    batches: Sequence[NDArray[np.int64]],
    probe_rows: int | None,
) -> list[Record]:
    """A record of every step. batches: the rows of each step, one more than there are updates."""
    optimizers = [Updates(training) for _ in net.parameters()]
    records: list[Record] = []
    dead: list[Array] | None = None
    for step, rows in enumerate(batches):
        x, y = data.x_train[rows], data.y_train[rows]
        taken = backprop(net, activation, x, y, training.loss)
        layers, dead = measured_columns(net, activation, taken, data.x_train[:probe_rows], dead)
        val_outputs = forward(net, activation, data.x_val)[0][-1]
        norm = float(np.sqrt(sum((g**2).sum() for g in taken.gradients())))
        scalars = {
            "train_loss": taken.loss,
            "train_accuracy": accuracy(taken.z[-1], y),
            "val_loss": float(loss_and_delta(val_outputs, data.y_val, training.loss)[0].mean()),
            "val_accuracy": accuracy(val_outputs, data.y_val),
            "eval_rows": float(len(data.y_val)),
            "grad_norm": norm,
        }
        if step < training.steps:
            lr = scalars["learning_rate"] = learning_rate(training, step)
            scale = min(1.0, training.clip / norm) if training.clip else 1.0
            before = [weight.copy() for weight in net.weights]
            for parameter, gradient, optimizer in zip(
                net.parameters(), taken.gradients(), optimizers, strict=True
            ):
                optimizer.apply(parameter, gradient * scale, lr)
            for row, update in zip(layers, update_columns(before, net.weights), strict=True):
                row.update(update)
        records.append(Record(step, layers, scalars))
    return records
