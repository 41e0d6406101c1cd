"""Sharpness of a stack's nets: the largest eigenvalue of the Hessian of the loss on the probe, before each recorded
step (Cohen et al. 2021).

Gradient descent at the rate eta is stable on a quadratic while the sharpness is below 2 / eta. The loss is that of the
probe as one batch in training mode, so that batch norm takes the probe's own statistics, as descent on the probe would
see them; with `--probe all` it is the whole training set's. The Hessian is never formed: Lanczos' method needs its
products with vectors alone, each of which costs about two passes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gradlab.base.errors import Problem, UserError
from gradlab.sensors.sensor import Observed, Sensor, Taken
from gradlab.tables.cell import RECORD
from gradlab.tables.spec import Column, Option, Places, TableSpec, floats, place

if TYPE_CHECKING:
    from torch import Tensor

    from gradlab.nn.buffered import BufferedPass
    from gradlab.nn.mlp import StackedMLP

TOLERANCE = 1e-3
"""Lanczos stops for a net where the residual is so small a share of the eigenvalue. Some eigenvalue lies no farther
from it than the residual; where the next one is at a distance d, no farther than its square over d."""
MOST = 100  # products of one record; the columns say how many it took and what residual is left

SHARPNESS = TableSpec(
    name="sharpness",
    row="cell, seed and recorded step",
    option=Option(
        "sharpness",
        "the loss's largest curvature (Hessian eigenvalue), in sharpness.csv; a record takes some forty passes",
    ),
    keys=RECORD,
    columns=(
        place(
            "samples",
            "int",
            "samples",
            "rows of the probe, whose loss in training mode is differentiated twice",
        ),
        *floats(
            (
                "sharpness",
                "loss / weight^2",
                "largest eigenvalue of the Hessian of the probe's loss, by Lanczos",
            ),
            (
                "sharpness_residual",
                "loss / weight^2",
                f"norm of H v - sharpness v; above {TOLERANCE:g} of the sharpness where {MOST} products were too few",
            ),
        ),
        Column("products", "int", "", "Hessian-vector products that it took"),
    ),
)

Product = Callable[["Tensor"], "Tensor"]


class SharpnessSensor(Sensor):
    """Takes the sharpness before each recorded step, on a copy of the nets: nothing of them changes."""

    table = SHARPNESS
    bytes_an_entry = 80  # of float32: passes, their backward passes and what those keep to be differentiated
    whole_pass = True
    bytes_a_weight = 6 * 8  # Lanczos' vectors, and a copy with its gradients

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        self._record: Tensor | None = None

    def places(self) -> Places:
        return {"samples": len(self.observed.probe)}

    def begin(self, buffered: BufferedPass | None) -> None:
        import torch

        product, size = hessian(self.observed)
        like = self.observed.probe
        self._record = torch.stack(largest_eigenvalue(product, self.observed.replicas, size, like), dim=1)

    def finish(self) -> Taken:
        import numpy as np

        assert self._record is not None, "a record that was not begun"
        return Taken(self._record, np.ones(self._record.shape[1:], dtype=bool))


SENSOR = SharpnessSensor


def hessian(observed: Observed) -> tuple[Product, int]:
    """The product of each net's Hessian with a vector of its own, wide [replica, weight], and the number of weights.

    Every trained parameter counts as a weight. Raises UserError where a user's own part has no second derivative.
    """
    import torch

    mlp, loss = copy.deepcopy(observed.mlp), observed.loss.aside()
    x, y = observed.probe, observed.targets
    if x.dtype == torch.bfloat16:  # its derivatives would be right to two digits
        mlp, x = mlp.float(), x.float()
        y = y.float() if y.is_floating_point() else y
    replicas, owners = observed.replicas, mlp.owners()
    parameters = [parameter for parameter, _ in owners]
    losses = loss.of(mlp(x.expand(replicas, -1, -1)), y.expand(replicas, *y.shape))
    with _twice():
        gradients = torch.autograd.grad(
            losses.sum(), parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )
    slope = _flat(mlp, gradients, replicas)

    def product(vector: Tensor) -> Tensor:
        if not slope.requires_grad:  # the loss is linear in the weights
            return torch.zeros_like(vector)
        with _twice():
            along = torch.autograd.grad(
                slope,
                parameters,
                vector.to(slope.dtype),
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        return _flat(mlp, along, replicas).to(vector.dtype)

    return product, slope.shape[1]


def largest_eigenvalue(
    product: Product, replicas: int, size: int, like: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The largest eigenvalue of each replica's symmetric matrix, its residual and the products it took, [replica] each.

    product: [replica, size] -> each matrix times its vector; like: a tensor on the device, in the format of the pass

    Lanczos' three-term recurrence from a random vector, without reorthogonalisation: what rounding adds to that are
    copies of eigenvalues that have converged, and the largest one is what we wait for (Paige 1976). A replica's
    numbers are those of the step in which it converged, so that they do not depend on the others'. NaN where the
    matrix is not finite.
    """
    import torch

    from gradlab.nn import statistics as st

    wide = st.wide_dtype(like)
    source = torch.Generator().manual_seed(0)
    start = torch.randn(size, generator=source, dtype=torch.float64).to(like.device, wide)
    vector = (start / torch.linalg.vector_norm(start)).expand(replicas, -1)
    before = torch.zeros_like(vector)
    beta = torch.zeros(replicas, 1, dtype=wide, device=like.device)
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    value, residual = (torch.full((replicas,), torch.nan, dtype=torch.float64) for _ in range(2))
    steps = torch.zeros(replicas, dtype=torch.float64)
    waiting = torch.ones(replicas, dtype=torch.bool)
    for step in range(1, min(MOST, size) + 1):
        image = product(vector)
        alpha = (vector * image).sum(dim=1, keepdim=True)
        image = image - alpha * vector - beta * before
        beta = torch.linalg.vector_norm(image, dim=1, keepdim=True)
        diagonal.append(alpha.cpu().double())
        top, left = _ritz(diagonal, beside, beta.cpu().double())
        value, residual = torch.where(waiting, top, value), torch.where(waiting, left, residual)
        steps = torch.where(waiting, float(step), steps)
        waiting = waiting & (left > TOLERANCE * top.abs())  # NaN waits for nothing
        if not waiting.any():
            break
        beside.append(beta.cpu().double())
        before, vector = vector, torch.where(beta > 0, image / beta, 0.0)
    found = (each.to(like.device, wide) for each in (value, residual, steps))
    return next(found), next(found), next(found)


def _ritz(diagonal: list[Tensor], beside: list[Tensor], beta: Tensor) -> tuple[Tensor, Tensor]:
    """The largest eigenvalue of the tridiagonal matrices, and beta times the last entry of its vector: [replica] each.

    diagonal, beside: columns [replica, 1] of the matrices' diagonals and of what stands next to them
    """
    import torch

    matrices = torch.diag_embed(torch.cat(diagonal, dim=1))
    if beside:
        off = torch.diag_embed(torch.cat(beside, dim=1), offset=1)
        matrices = matrices + off + off.mT
    finite = matrices.isfinite().all(dim=2).all(dim=1) & beta.isfinite()[:, 0]
    values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], matrices, 0.0))
    left = beta[:, 0] * vectors[:, -1, -1].abs()
    return torch.where(finite, values[:, -1], torch.nan), torch.where(finite, left, torch.nan)


def _flat(mlp: StackedMLP, tensors: Sequence[Tensor], replicas: int) -> Tensor:
    """One tensor for each trained parameter, side by side: [replica, weight]."""
    import torch

    pairs = [(owner, tensor) for (_, owner), tensor in zip(mlp.owners(), tensors, strict=True)]
    parts = [tensor.flatten(1) for owner, tensor in pairs if owner is None]
    alone = [[tensor.flatten() for owner, tensor in pairs if owner == nth] for nth in range(replicas)]
    if alone[0]:  # of a user's activation, an instance of its own for each replica
        parts.append(torch.stack([torch.cat(each) for each in alone]))
    return torch.cat(parts, dim=1)


@contextmanager
def _twice() -> Iterator[None]:
    """Around a derivative that will be differentiated again: an error names what to do."""
    try:
        yield
    except RuntimeError as error:
        message = f"the loss of these nets has no second derivative: {error}"
        hint = "leave out --sharpness, or write the activation, norm or loss with PyTorch's differentiable functions"
        raise UserError(Problem("--sharpness", message, hint=hint)) from error
