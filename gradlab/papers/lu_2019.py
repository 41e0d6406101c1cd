"""Deep narrow ReLU nets are often dead before training starts (Lu, Shin, Su & Karniadakis 2019).

A bias-free net of L layers and width N (L - 1 hidden layers) is dead for an input when every unit of some hidden
layer is off: the output is then 0, and so is every gradient. With symmetric weights each unit is off with
probability 1/2 whatever came before, so for one input the probability is exactly 1 - (1 - 2^-N)^(L-1). Over a whole
line of inputs both half lines must die; the paper bounds that probability from both sides (theorem 3.2). Its remedy
draws one weight of each unit from a positive distribution.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import torch
from torch import Tensor

from gradlab import theory
from gradlab.nn.draws import generator
from gradlab.nn.mlp import StackedMLP
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import many_nets
from gradlab.papers.rows import (
    Finding,
    Panel,
    Row,
    Series,
    absolute,
    at_most,
    between,
    exactly,
    share_of,
)

PAPER = Paper(
    name="lu-2019",
    title="deep narrow ReLU nets are born dead",
    citation="Lu, Shin, Su & Karniadakis 2019, Dying ReLU and initialization",
    order=10,
)

SHAPES = ((2, 10), (3, 10), (4, 20), (5, 50))  # width N, layers L
SOURCE = "Lu et al. 2019"
NOISE = "4 standard errors of the share"


def dead_inputs(mlp: StackedMLP, inputs: Tensor) -> Tensor:
    """Whether each net's output is exactly 0 at each input: boolean [net, input]; inputs [input, feature]."""
    with torch.no_grad():
        out: Tensor = mlp(inputs.expand(mlp.readout.weight.shape[0], -1, -1))
    return (out == 0).all(dim=2)


def born_dead(width: int, layers: int) -> float:
    """Probability for one input; exact."""
    return 1 - (1 - 2.0**-width) ** (layers - 1)


def bounds(width: int, layers: int) -> tuple[float, float]:
    """Of the probability over the whole line (theorem 3.2 for inputs of dimension 1)."""
    n, hidden = width, layers - 2
    a1 = 1 - 2.0**-n
    a2 = 1 - 2.0 ** (1 - n) - (n - 1) * 4.0**-n
    upper = 1 - a1**hidden
    lower = upper + (1 - 2.0 ** (1 - n)) * a1 / (1 + (n - 1) * 2.0**-n) * (a2**hidden - a1**hidden)
    return lower, upper


def randomized_asymmetric(mlp: StackedMLP, sigma_w: float) -> None:
    """The paper's remedy in place: in each unit one of its weights and bias is drawn from Beta(2, 1) instead."""
    source = generator(0, "asymmetric")
    for linear in mlp.linears:
        nets, fan_in, units = linear.weight.shape
        drawn = torch.randn(nets, fan_in + 1, units, generator=source) * (sigma_w / sqrt(fan_in))
        place = torch.randint(fan_in + 1, (nets, 1, units), generator=source)
        beta = torch.rand(
            nets, 1, units, generator=source
        ).sqrt()  # the distribution function of Beta(2, 1) is x^2
        drawn.scatter_(1, place, beta)
        with torch.no_grad():
            linear.weight.copy_(drawn[:, :-1])
            linear.bias.copy_(drawn[:, -1:])


def reproduce(quick: bool) -> Iterator[Finding]:
    nets = 4_000 if quick else 20_000
    line = torch.tensor([[1.0], [-1.0]])  # a bias-free net is linear on each half line
    depths = range(2, 51, 8)
    symmetric: dict[tuple[int, int], float] = {}
    for width, layers in SHAPES:
        mlp = many_nets("relu", "he", depth=layers - 1, width=width, features=1, nets=nets)
        dead = dead_inputs(mlp, line)
        exact = born_dead(width, layers)
        yield Row(
            row=f"one input, N={width} L={layers}",
            statement="P(dead at birth) for one fixed input is 1 - (1 - 2^-N)^(L-1)",
            published=exact,
            measured=share_of(int(dead[:, 0].sum()), nets),
            tolerance=absolute(exact, 4 * sqrt(exact * (1 - exact) / nets), NOISE),
            source=f"{SOURCE}, lemma 3.1 with symmetric units",
            provenance="D",
        )
        lower, upper = bounds(width, layers)
        everywhere = share_of(int(dead.all(dim=1).sum()), nets)
        symmetric[width, layers] = everywhere.value
        noise = 4 * sqrt(upper * (1 - upper) / nets)
        yield Row(
            row=f"whole line, N={width} L={layers}",
            statement="P(dead at birth) for all inputs of dimension 1 lies between the theorem's bounds",
            published=f"{lower:.6f} to {upper:.6f}",
            measured=everywhere,
            tolerance=between(lower - noise, upper + noise, f"the bounds, {NOISE}"),
            source=f"{SOURCE}, theorem 3.2",
            provenance="P",
        )
    yield from _remedy(nets, symmetric)
    yield Panel(
        "ReLU nets born dead (one input)",
        "layers L",
        "share of nets",
        [
            series
            for width in (2, 3, 4, 5)
            for series in (
                Series(f"N = {width}, theory", list(depths), [born_dead(width, n) for n in depths]),
                _measured(width, depths, nets // 10),
            )
        ],
    )


def _measured(width: int, depths: range, nets: int) -> Series:
    found = []
    for layers in depths:
        mlp = many_nets("relu", "he", depth=layers - 1, width=width, features=1, nets=nets, seed=1)
        found.append(share_of(int(dead_inputs(mlp, torch.ones(1, 1)).sum()), nets))
    return Series(
        f"N = {width}, measured",
        list(depths),
        [each.value for each in found],
        "points",
        [each.low for each in found],
        [each.high for each in found],
    )


def _remedy(nets: int, symmetric: dict[tuple[int, int], float]) -> Iterator[Row]:
    mean, _ = theory.expectation("relu", 1.0, of=lambda phi, slope: phi)
    square, _ = theory.expectation("relu", 1.0)
    # E[(g + P h)_+^2] = sigma_w^2 E[relu^2] + 2 E[P] sigma_w E[relu] + E[P^2] with E[P] = 2/3, E[P^2] = 1/2, set to 1
    half = 2 / 3 * float(mean) / float(square)
    sigma_w = sqrt(half**2 + 0.5 / float(square)) - half
    yield Row(
        row="sigma_w of the remedy",
        statement="the randomized asymmetric initialisation keeps the second moment at sigma_w = 0.6007",
        published=0.6007,
        measured=exactly(sigma_w),
        tolerance=absolute(0.6007, 0.5e-4, "half of the last printed digit"),
        source=f"{SOURCE}, section 4",
        provenance="P",
    )
    for width, layers in SHAPES[:2]:
        mlp = many_nets("relu", "he", depth=layers - 1, width=width, features=1, nets=nets)
        randomized_asymmetric(mlp, sigma_w)
        # A unit may die on one half line and live on the other, at any scale now that there are biases.
        line = torch.linspace(-3, 3, 61).reshape(-1, 1)
        dead = _constant(mlp, line)
        before = symmetric[width, layers]
        yield Row(
            row=f"remedy, N={width} L={layers}",
            statement="randomized asymmetric nets are born dead (constant on [-3, 3]) far less often than symmetric",
            published="effectively prevented",
            measured=share_of(int(dead.sum()), nets),
            tolerance=at_most(before / 2, "half of the symmetric share measured above, on the same shape"),
            source=f"{SOURCE}, abstract: the new initialisation can effectively prevent the dying ReLU",
            provenance="P",
        )


def _constant(mlp: StackedMLP, inputs: Tensor) -> Tensor:
    """Whether each net gives the same output for all inputs: boolean [net]."""
    with torch.no_grad():
        out: Tensor = mlp(inputs.expand(mlp.readout.weight.shape[0], -1, -1))
    return (out == out[:, :1]).all(dim=2).all(dim=1)
