"""Gradient descent drives the sharpness to 2 / rate and stays there (Cohen, Kaur, Li, Kolter & Talwalkar 2021).

The sharpness is the Hessian's largest eigenvalue. A quadratic diverges where it is above 2 / rate. Full-batch gradient
descent of a tanh net on the squared error first raises the sharpness, then holds it there, and the loss goes on falling
where every quadratic diverges. Gradient descent of small batches stays below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import drawn, noise
from gradlab.papers.rows import (
    Finding,
    Panel,
    Row,
    Series,
    at_least,
    at_most,
    mean_of,
    relative,
)

PAPER = Paper(
    name="cohen-2021",
    title="gradient descent trains at the edge of stability",
    citation="Cohen, Kaur, Li, Kolter & Talwalkar 2021, Gradient descent typically occurs at the edge of stability",
    order=44,
)

SOURCE = "Cohen et al. 2021"
FEATURES, WIDTH, ROWS = 8, 24, 48
RATE = 0.2
Weights = Sequence[Tensor]


def start(seed: int) -> list[Tensor]:
    shapes = ((FEATURES, WIDTH), (WIDTH, WIDTH), (WIDTH, 1))
    return [drawn(f"edge {seed} {at}", 1, *shape)[0] for at, shape in enumerate(shapes)]


def data(seed: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets that a net cannot fit within a few steps: random ones."""
    return noise(f"edge x {seed}", ROWS, FEATURES), noise(f"edge y {seed}", ROWS, 1)


def loss_of(weights: Weights, x: Tensor, y: Tensor) -> Tensor:
    h = x
    for weight in weights[:-1]:
        h = torch.tanh(h @ weight)
    loss: Tensor = (h @ weights[-1] - y).square().mean() / 2
    return loss


def sharpness(weights: Weights, x: Tensor, y: Tensor) -> float:
    """Largest eigenvalue of the Hessian of the full batch's loss, by Lanczos on Hessian-vector products."""
    leaves = [weight.detach().requires_grad_(True) for weight in weights]
    gradients = torch.autograd.grad(loss_of(leaves, x, y), leaves, create_graph=True)
    flat = torch.cat([gradient.flatten() for gradient in gradients])

    def product(
        vector: np.ndarray[tuple[int], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        along = torch.autograd.grad(flat, leaves, torch.from_numpy(vector.ravel()), retain_graph=True)
        result: np.ndarray[tuple[int], np.dtype[np.float64]] = torch.cat([g.flatten() for g in along]).numpy()
        return result

    size = flat.numel()
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    (largest,) = eigsh(operator, k=1, which="LA", tol=1e-4, v0=np.ones(size), return_eigenvectors=False)
    return float(largest)


def descent(
    seed: int, rate: float, steps: int, *, batch: int = ROWS, every: int = 100
) -> tuple[list[float], list[float]]:
    """Sharpness and loss every so many steps of gradient descent, the start first."""
    weights, (x, y) = start(seed), data(seed)
    source = torch.Generator().manual_seed(seed)
    sharp, losses = [], []
    for step in range(steps + 1):
        if step % every == 0:
            sharp.append(sharpness(weights, x, y))
            losses.append(float(loss_of(weights, x, y)))
        rows = torch.randperm(ROWS, generator=source)[:batch] if batch < ROWS else torch.arange(ROWS)
        leaves = [weight.detach().requires_grad_(True) for weight in weights]
        gradients = torch.autograd.grad(loss_of(leaves, x[rows], y[rows]), leaves)
        weights = [weight.detach() - rate * g for weight, g in zip(leaves, gradients, strict=True)]
    return sharp, losses


def reproduce(quick: bool) -> Iterator[Finding]:
    seeds, steps, every = range(3 if quick else 6), 3000, 100
    lines, settled, first = [], {}, {}
    rates = (RATE / 2, RATE, 1.5 * RATE)
    for rate in rates:
        runs = [descent(seed, rate, steps, every=every) for seed in seeds]
        sharp, losses = (np.array([run[at] for run in runs]) for at in (0, 1))
        late = sharp[:, sharp.shape[1] * 2 // 3 :].mean(axis=1)
        settled[rate], first[rate] = late, sharp[:, 0]
        lines += [
            Series(f"rate {rate:g}", list(range(0, steps + 1, every)), list(sharp.mean(axis=0))),
            Series(f"2 / {rate:g}", [0, steps], [2 / rate] * 2),
        ]
        yield Row(
            row=f"sharpness at the edge, rate {rate:g}",
            statement=f"mean sharpness of the last third of {steps} steps of full-batch gradient descent",
            published=2 / rate,
            measured=mean_of(late),
            tolerance=relative(
                2 / rate, 0.1, "it hovers just at, or just above, this value: a tenth for the word just"
            )
            if rate >= RATE
            else None,  # some nets fit their targets before they are as sharp as this
            source=f"{SOURCE}, abstract",
            provenance="P",
        )
        if rate < RATE:
            continue
        yield Row(
            row=f"loss at the edge, rate {rate:g}",
            statement="the loss goes on falling: its last value over that after the first third",
            published="decreases over long timescales",
            measured=mean_of(losses[:, -1] / losses[:, losses.shape[1] // 3]),
            tolerance=at_most(1.0, "the word decreases"),
            source=f"{SOURCE}, abstract",
            provenance="P",
        )
    yield Row(
        row="progressive sharpening",
        statement=f"sharpness at the edge over that at the start, rate {RATE:g}",
        published="rises",
        measured=mean_of(settled[RATE] / first[RATE]),
        tolerance=at_least(1.0, "the word rises"),
        source=f"{SOURCE}, section 3",
        provenance="P",
    )
    small = np.array([np.mean(descent(seed, RATE, steps, batch=4, every=500)[0][3:]) for seed in seeds])
    yield Row(
        row="small batches",
        statement=f"sharpness under batches of 4 over 2 / rate, rate {RATE:g}",
        published="below 1",
        measured=mean_of(small * RATE / 2),
        tolerance=at_most(1.0, "it stays below"),
        source=f"{SOURCE}, section 6: stochastic gradient descent",
        provenance="P",
    )
    yield Panel("Sharpness under gradient descent", "step", "largest eigenvalue", lines)
