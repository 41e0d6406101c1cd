"""Back-propagation of one MLP by hand, in NumPy and float64: no autograd, no batching of seeds, no cleverness.

Everything a record of `layers.csv` holds is computed here a second time, from the definitions of the columns.
phi and phi' come from the activation's NumPy face; PReLU's learned slope and softmax are written out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlab.activations import Activation

Array = NDArray[np.float64]


@dataclass
class Net:
    """One replica: weights [in, out] and biases [out] of each layer, the readout last; PReLU's slopes or None."""

    weights: list[Array]
    biases: list[Array]
    alphas: list[Array | None]

    @property
    def depth(self) -> int:
        return len(self.weights) - 1

    def parameters(self) -> list[Array]:
        return [*self.weights, *self.biases, *(a for a in self.alphas if a is not None)]


@dataclass
class Pass:
    """One forward and backward pass over a batch; every list has one entry a layer.

    z [batch, unit]; h: the inputs first, then each hidden layer's; delta: d loss_i / d z of sample i, not divided
    by the batch; weight_grads, bias_grads, alpha_grads: of the mean loss; loss: the mean over the batch
    """

    z: list[Array]
    h: list[Array]
    delta: list[Array]
    weight_grads: list[Array]
    bias_grads: list[Array]
    alpha_grads: list[Array | None]
    loss: float

    def gradients(self) -> list[Array]:
        """In the order of `Net.parameters`."""
        return [*self.weight_grads, *self.bias_grads, *(a for a in self.alpha_grads if a is not None)]


def phi_of(activation: Activation, z: Array, alpha: Array | None) -> Array:
    if alpha is not None:
        return np.where(z > 0, z, alpha * z)
    if activation.name == "softmax":
        exp = np.exp(z - z.max(axis=1, keepdims=True))
        return exp / exp.sum(axis=1, keepdims=True)
    assert activation.phi is not None
    return activation.phi(z)


def slope_at(activation: Activation, z: Array, alpha: Array | None) -> Array:
    if alpha is not None:
        return np.where(z > 0, 1.0, alpha)
    assert activation.slope is not None
    return activation.slope(z)


def forward(net: Net, activation: Activation, x: Array) -> tuple[list[Array], list[Array]]:
    z, h = [], [x]
    for layer, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
        z.append(h[-1] @ weight + bias)
        if layer < net.depth:
            h.append(phi_of(activation, z[-1], net.alphas[layer]))
    return z, h


def loss_and_delta(outputs: Array, y: NDArray[np.int64], loss: str) -> tuple[Array, Array]:
    """Loss of each sample [batch] and its derivative by the outputs [batch, output]."""
    rows = np.arange(len(y))
    if loss == "binary_cross_entropy":
        z = outputs[:, 0]
        each = np.logaddexp(0.0, np.where(y == 1, -z, z))
        return each, (1 / (1 + np.exp(-z)) - y)[:, None]
    one_hot = np.zeros_like(outputs)
    one_hot[rows, y] = 1.0
    if loss == "mse":
        return ((outputs - one_hot) ** 2).sum(axis=1), 2 * (outputs - one_hot)
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[rows, y], np.exp(log_p) - one_hot


def backprop(net: Net, activation: Activation, x: Array, y: NDArray[np.int64], loss: str) -> Pass:
    """Rumelhart, Hinton & Williams 1986, layer by layer from the readout down."""
    batch = len(y)
    z, h = forward(net, activation, x)
    each, error = loss_and_delta(z[-1], y, loss)
    delta: list[Array] = [error]
    alpha_grads: list[Array | None] = []
    for layer in range(net.depth - 1, -1, -1):
        by_h = delta[0] @ net.weights[layer + 1].T
        alpha = net.alphas[layer]
        if activation.name == "softmax":
            p = h[layer + 1]
            delta.insert(0, p * (by_h - (by_h * p).sum(axis=1, keepdims=True)))
        else:
            delta.insert(0, by_h * slope_at(activation, z[layer], alpha))
        by_alpha = None
        if alpha is not None:
            each_unit = (by_h * np.minimum(z[layer], 0.0)).sum(axis=0) / batch
            by_alpha = each_unit if alpha.size > 1 else each_unit.sum(keepdims=True)
        alpha_grads.insert(0, by_alpha)
    return Pass(
        z=z,
        h=h,
        delta=delta,
        weight_grads=[h[layer].T @ delta[layer] / batch for layer in range(net.depth + 1)],
        bias_grads=[delta[layer].sum(axis=0) / batch for layer in range(net.depth + 1)],
        alpha_grads=alpha_grads,
        loss=float(each.mean()),
    )


def accuracy(outputs: Array, y: NDArray[np.int64]) -> float:
    guess = (outputs[:, 0] > 0).astype(np.int64) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    return float(((guess == y) & ~np.isnan(outputs).any(axis=1)).mean())


def flat_mask(activation: Activation, z: Array) -> NDArray[np.bool_]:
    """Where z lies in a true flat part of phi, read off the specification."""
    return np.any(
        [np.zeros(z.shape, bool), *((low <= z) & (z <= high) for low, high in activation.flats)], axis=0
    )


def zero_mask(activation: Activation, z: Array, h: Array) -> NDArray[np.bool_]:
    """Outputs that are exactly 0, as the engine rounds: its GELU, z (1 + erf) / 2, is 0 below half a unit of 1."""
    if activation.name == "gelu":
        return np.abs(h) < np.abs(z) * np.finfo(np.float64).eps / 8
    return h == 0


def ratio_of_rms(below: Array, above: Array) -> float:
    """The root mean square of one gradient over that of another; nan where both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sqrt((below**2).mean()) / np.sqrt((above**2).mean()))


def effective_rank_of(h: Array) -> float:
    """exp of the entropy of the singular values of 128 rows at even distances; nan where h is 0 or not finite."""
    rows = h[:: max(1, len(h) // 128)][:128].astype(np.float64)
    if not np.isfinite(rows).all() or not rows.any():
        return float("nan")
    values = np.linalg.svd(rows, compute_uv=False)
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def pairs_of(h: Array) -> Array:
    """The cosine between the rows of each ordered pair of different rows that are not 0."""
    rows = h[np.abs(h).max(axis=1) > 0]
    rows = rows / np.abs(rows).max(axis=1, keepdims=True)  # the squares of tiny numbers are 0
    lengths = np.sqrt((rows**2).sum(axis=1))
    cosines = rows @ rows.T / np.outer(lengths, lengths)
    return cosines[~np.eye(len(rows), dtype=bool)]


def measured_columns(
    net: Net, activation: Activation, step: Pass, probe: Array, dead_before: list[Array] | None
) -> tuple[list[dict[str, float]], list[Array]]:
    """Each layer's columns of `layers.csv` before the update (a column that does not apply is absent), and the
    units of each hidden layer that are dead on the probe.

    step: the pass over the training batch; probe [row, feature]; dead_before: what the record before gave
    """
    probe_z, probe_h = forward(net, activation, probe)
    rows: list[dict[str, float]] = []
    dead_now: list[Array] = []
    for layer in range(net.depth + 1):
        weight_grad, bias_grad = step.weight_grads[layer], step.bias_grads[layer]
        row = {
            "weight_grad_norm": np.sqrt((weight_grad**2).sum()),
            "bias_grad_norm": np.sqrt((bias_grad**2).sum()),
            "weight_grad_mean_abs": np.abs(weight_grad).mean(),
            "grad_zero_fraction": (weight_grad == 0).mean(),
            "weight_norm": np.sqrt((net.weights[layer] ** 2).sum()),
            "delta_rms": np.sqrt((step.delta[layer] ** 2).mean()),
            "z_mean": probe_z[layer].mean(),
            "z_std": probe_z[layer].std(),
            "nonfinite": sum(
                (~np.isfinite(a)).sum() for a in (step.z[layer], step.delta[layer], weight_grad, bias_grad)
            ),
            "weight_grad_p05": np.percentile(weight_grad, 5),
            "weight_grad_p95": np.percentile(weight_grad, 95),
        }
        row["effective_rank"] = effective_rank_of(probe_h[layer + 1] if layer < net.depth else probe_z[layer])
        if layer < net.depth:
            by_h = step.delta[layer + 1] @ net.weights[layer + 1].T
            row["weight_gain"] = ratio_of_rms(by_h, step.delta[layer + 1])
            row["slope_gain"] = ratio_of_rms(step.delta[layer], by_h)
            h = probe_h[layer + 1]
            row["h_mean"] = h.mean()
            row["h_rms"] = np.sqrt((h**2).mean())
            cosines = pairs_of(h[:64]) if np.isfinite(h).all() else np.empty(0)
            row["sample_correlation"] = cosines.mean() if len(cosines) else np.nan
            row["h_p95_abs"] = np.percentile(np.abs(h), 95)
            row["zero_fraction"] = zero_mask(activation, step.z[layer], step.h[layer + 1]).mean()
        alpha = net.alphas[layer] if layer < net.depth else None
        if alpha is not None:
            row["alpha"] = alpha.mean()
        if layer < net.depth and activation.name != "softmax":
            slope = np.abs(slope_at(activation, probe_z[layer], alpha))
            sup = activation.slope_sup if alpha is None else np.maximum(1.0, np.abs(alpha))
            row["slope_sq"] = (slope**2).mean()
            row["saturated_fraction"] = (slope < 0.05 * sup).mean()
            flat = flat_mask(activation, probe_z[layer])
            dead = flat.all(axis=0)
            row["dead_fraction"] = dead.mean()
            row["low_activity_fraction"] = ((~flat).mean(axis=0) < 0.01).mean()
            row["batch_dead_fraction"] = flat_mask(activation, step.z[layer]).all(axis=0).mean()
            if dead_before is not None:
                row["deaths"] = (dead & ~dead_before[layer]).sum()
                row["revivals"] = (dead_before[layer] & ~dead).sum()
            dead_now.append(dead)
        rows.append({name: float(value) for name, value in row.items()})
    return rows, dead_now


def update_columns(before: list[Array], after: list[Array]) -> list[dict[str, float]]:
    """The columns about the update of each layer's weights."""
    return [
        {
            "update_ratio": float(np.linalg.norm(new - old) / np.linalg.norm(old)),
            "update_mean_abs": float(np.abs(new - old).mean()),
        }
        for old, new in zip(before, after, strict=True)
    ]
