"""Why recurrent gradients vanish or explode, and what clipping does (Hochreiter 1991; Bengio, Simard & Frasconi 1994;
Pascanu, Mikolov & Bengio 2013).

From one step to the one before it the gradient passes W^T diag(phi'), whose norm is at most lambda gamma: lambda is
the largest singular value of W, gamma the largest slope of phi (1 for tanh, 1/4 for sigmoid). lambda < 1 / gamma is
enough for vanishing; lambda > 1 / gamma is needed for exploding, but not enough. Clipping scales a gradient to a norm
and keeps its direction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import drawn, noise
from gradlab.papers.recurrent_nets import ThroughTime, through_time
from gradlab.papers.rows import (
    Finding,
    Panel,
    Row,
    Series,
    absolute,
    at_least,
    at_most,
    exactly,
    mean_of,
    relative,
)
from gradlab.train.clipping import clip, gradient_norms

PAPER = Paper(
    name="pascanu-2013",
    title="when recurrent gradients vanish or explode, and what clipping does",
    citation="Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural networks",
    order=24,
)

SOURCE = "Pascanu, Mikolov & Bengio 2013"
STEPS = 50
ROUNDING = "a product of 50 matrices in float64"


def recurrent(activation: str, weight: Tensor, *, input_std: float = 0.5) -> ThroughTime:
    nets, units = weight.shape[:2]
    return through_time(activation, weight, list(input_std * noise("inputs", STEPS, nets, 1, units)))


def norms(net: ThroughTime) -> Tensor:
    """Spectral norm of d h_T / d h_(T-k) for k = 1 ... STEPS, [net, k]."""
    found = [torch.linalg.matrix_norm(net.jacobian(steps), 2) for steps in range(1, STEPS + 1, 7)]
    return torch.stack(found, dim=1)


def reproduce(quick: bool) -> Iterator[Finding]:
    nets, units = 4, 40 if quick else 100
    back = list(range(1, STEPS + 1, 7))
    lines = []
    for activation, slope, largest in (("tanh", 1.0, 0.95), ("sigmoid", 0.25, 3.9)):
        weight = drawn(f"recurrent {activation}", nets, units, units, sigma_w=largest, orthogonal=True)
        found = norms(recurrent(activation, weight))
        bound = torch.tensor([(slope * largest) ** k for k in back], dtype=found.dtype)
        lines += [
            Series(f"{activation}, largest singular value {largest:g}", back, found.mean(dim=0).tolist()),
            Series(f"bound of {activation}", back, bound.tolist()),
        ]
        yield Row(
            row=f"bound of {activation}",
            statement=f"largest norm of d h_T / d h_(T-k) over (gamma {largest:g})^k, k = 1 to {STEPS}",
            published="at most 1 for gamma = " + f"{slope:g}",
            measured=exactly(float((found / bound).max())),
            tolerance=at_most(1 + 1e-9, f"a bound; {ROUNDING}"),
            source=f"{SOURCE}, derived: |W^T diag(phi')| is at most lambda gamma",
            provenance="D",
        )
    for name, largest in (("reached", 0.95), ("exceeded", 1.05)):
        weight = drawn("recurrent linear", nets, units, units, sigma_w=largest, orthogonal=True)
        gain = torch.linalg.matrix_norm(recurrent("linear", weight).jacobian(STEPS), 2)
        yield Row(
            row=f"linear layer, bound {name}",
            statement=f"{largest:g} times an orthogonal matrix changes every gradient by exactly {largest:g} a step",
            published=largest**STEPS,
            measured=mean_of(gain.numpy()),
            tolerance=relative(largest**STEPS, 1e-9, ROUNDING),
            source=f"{SOURCE}, derived for the linear case",
            provenance="D",
        )
    yield from _not_enough(nets, 100 if quick else 300)
    yield from _clipping(nets, units)
    yield Panel("Norm of d h_T / d h_(T-k)", "k", "spectral norm", lines, log_y=True)


def _not_enough(nets: int, units: int) -> Iterator[Finding]:
    """A Gaussian matrix of sigma_w = 0.6: singular values up to 1.2, eigenvalues within 0.6."""
    weight = drawn("recurrent gaussian", nets, units, units, sigma_w=0.6)
    largest = torch.linalg.matrix_norm(weight, 2)
    edge = units ** (-2 / 3)
    yield Row(
        row="largest singular value at sigma_w = 0.6",
        statement="twice sigma_w: above 1, so that the bound allows tanh to explode",
        published=1.2,
        measured=mean_of(largest.numpy()),
        tolerance=relative(1.2, 2 * edge, "fluctuations and shift of the edge are of order N^(-2/3)"),
        source=f"{SOURCE}, the edge of the Marchenko-Pastur law",
        provenance="D",
    )
    gain = torch.linalg.matrix_norm(recurrent("tanh", weight, input_std=0.0).jacobian(STEPS), 2)
    yield Row(
        row="needed, not enough",
        statement=f"and yet no gradient explodes: norm of d h_T / d h_(T-{STEPS}) at h = 0",
        published="no explosion",
        measured=mean_of(gain.numpy()),
        tolerance=at_most(
            1e-6, "the spectral radius is 0.6: 0.6^50 = 8e-12, times a transient of order sqrt(N)"
        ),
        source=f"{SOURCE}, derived: the bound is necessary, and the spectral radius decides",
        provenance="D",
    )


def _clipping(nets: int, units: int) -> Iterator[Finding]:
    """Gradients of W_hh through time, of layers whose weights grow from net to net."""
    scale = torch.linspace(0.5, 1.5, nets, dtype=torch.float64).reshape(-1, 1, 1)
    weight = (scale * drawn("recurrent clipped", nets, units, units, orthogonal=True)).requires_grad_(True)
    inputs = 0.01 * noise("inputs", STEPS, nets, 1, units)
    h = torch.zeros_like(inputs[0])
    for x in inputs:
        h = torch.tanh(h @ weight + x)
    (gradient,) = torch.autograd.grad((h * noise("cotangent", nets, 1, units)).sum(), weight)
    owners: Sequence[tuple[nn.Parameter, int | None]] = [(nn.Parameter(weight.detach()), None)]
    before = gradient_norms(owners, [gradient])
    limit = float(torch.sqrt(before.min() * before.max()))
    (clipped,) = clip(owners, [gradient], before, limit)
    after = torch.linalg.matrix_norm(clipped)
    yield Row(
        row="clipping, norm",
        statement="of gradients some of which exceed the threshold: the largest norm after clipping over the threshold",
        published=1.0,
        measured=exactly(float(after.max()) / limit),
        tolerance=absolute(1.0, 1e-6, "float32 rounding of norms"),
        source=f"{SOURCE}, abstract: clipping of the gradient's norm; derived from what that is",
        provenance="D",
    )
    least = int(before.argmin())
    yield Row(
        row="clipping, below the threshold",
        statement="a gradient below the threshold stays as it is: its norm after over before",
        published=1.0,
        measured=exactly(float(after[least] / torch.linalg.matrix_norm(gradient[least]))),
        tolerance=absolute(1.0, 1e-12, "nothing is multiplied"),
        source=f"{SOURCE}, abstract: clipping of the gradient's norm; derived from what that is",
        provenance="D",
    )
    cosine = torch.nn.functional.cosine_similarity(gradient.flatten(1), clipped.flatten(1))
    yield Row(
        row="clipping, direction",
        statement="the direction is kept: least cosine of the gradients before and after",
        published=1.0,
        measured=exactly(float(cosine.min())),
        tolerance=at_least(1 - 1e-9, "rounding"),
        source=f"{SOURCE}, abstract: clipping of the gradient's norm; derived from what that is",
        provenance="D",
    )
