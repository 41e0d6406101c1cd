"""Signal and gradient through time, with and without gates (Chen, Pennington & Schoenholz 2018).

A recurrent tanh layer with inputs of variance R settles at q = sigma_w^2 E[phi^2] + sigma_v^2 R and changes the squared
gradient by chi = sigma_w^2 E[phi'^2] a step: critical where chi = 1, which fixes both scales for every q. An orthogonal
matrix then keeps the Jacobian of many steps near an isometry; a Gaussian one does not.

The minimalRNN h <- u h + (1 - u) x with the gate u = sigmoid(V h + W x + b) has chi = E[u^2] + sigma_v^2 E[u'^2] (Q +
R), Q = E[u^2] Q + E[(1 - u)^2] R the state's variance: a bias of the gate brings chi near 1 for a wide range of
weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log, sqrt

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from gradlab import theory
from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, drawn, log_noise, noise
from gradlab.papers.recurrent_nets import through_time
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, at_least, exactly, mean_of, relative
from gradlab.theory.recurrent import step_factors

PAPER = Paper(
    name="chen-2018",
    title="critical recurrent nets, and gates that make a wide range of weights critical",
    citation="Chen, Pennington & Schoenholz 2018, Dynamical isometry and a mean field theory of RNNs",
    order=26,
)

SOURCE = "Chen, Pennington & Schoenholz 2018"
STEPS, SETTLED = 16, 30
KEPT = (
    "mean field takes a gate to be independent of the state that it kept, as it is where the weights are drawn anew "
    "for every step (those rows hold). With the same weights in every step and gates that stay for many of them it is "
    "not: the state's variance settles at a third of the prediction"
)


def settled(sigma_w: float, input_sq: float) -> float:
    """q of tanh: the fixed point of q = sigma_w^2 E[phi^2] + input_sq, input_sq = sigma_v^2 R."""

    def above(q: float) -> float:
        return q - sigma_w**2 * float(theory.moments("tanh", [q]).phi_sq[0]) - input_sq

    return float(brentq(above, 1e-9, sigma_w**2 + input_sq + 1, xtol=1e-12))


def critical(q: float) -> tuple[float, float]:
    """sigma_w and sigma_v^2 R of tanh with variance q and chi = 1, in closed form."""
    here = theory.moments("tanh", [q])
    square = 1 / float(here.slope_sq[0])
    return sqrt(square), q - square * float(here.phi_sq[0])


def reproduce(quick: bool) -> Iterator[Finding]:
    nets, units = 6, 120 if quick else 400
    critical_w, critical_input = critical(0.25)
    lines = []
    for name, sigma_w, input_sq in (
        ("ordered", 0.8, 0.2),
        ("critical", critical_w, critical_input),
        ("chaotic", 1.8, 0.05),
    ):
        weight = drawn(f"recurrent {name}", nets, units, units, sigma_w=sigma_w)
        net = through_time("tanh", weight, list(sqrt(input_sq) * noise("inputs", SETTLED, nets, 1, units)))
        q = settled(sigma_w, input_sq)
        z_sq = torch.stack([z.square().mean(dim=(1, 2)) for z in net.z[SETTLED - STEPS :]], dim=1).mean(dim=1)
        yield Row(
            row=f"variance of z, {name}",
            statement=f"z of a recurrent tanh layer settles at q (sigma_w = {sigma_w:.4g}, width {units})",
            published=q,
            measured=mean_of(z_sq.numpy()),
            tolerance=relative(
                q, 4 * sqrt(4 / units / nets), "4 standard errors: steps of one net are not independent"
            ),
            source=f"{SOURCE}, the recurrence of q derived",
            provenance="D",
        )
        chi = float(step_factors("tanh", sigma_w**2, [q])[0])
        cotangent = noise("cotangent", nets, 1, units)
        course = [(net.back(cotangent, k) / 1).square().mean(dim=(1, 2)).log() for k in range(STEPS + 1)]
        fall = torch.stack(course, dim=1) - course[0].unsqueeze(1)
        lines.append(Series(f"{name}, nets", list(range(STEPS + 1)), fall.mean(dim=0).tolist(), "points"))
        lines.append(Series(f"{name}, chi", list(range(STEPS + 1)), [k * log(chi) for k in range(STEPS + 1)]))
        yield Row(
            row=f"gradient through time, {name}",
            statement=f"log of ||delta||^2 {STEPS} steps back, with the same weights in every step",
            published=STEPS * log(chi),
            measured=mean_of(fall[:, -1].numpy()),
            tolerance=absolute(
                STEPS * log(chi),
                log_noise(np.ones(STEPS), width=units, nets=nets) + STEPS**2 / units / 2,
                "3 standard errors; tied weights add terms of order steps^2 / units",
            ),
            source=f"{SOURCE}, chi derived; theory.recurrent",
            provenance="D",
        )
    yield from _isometry(nets, units, critical_w, critical_input)
    yield from _gated(nets, units)
    yield Panel("tanh through time", "steps back", "log ||delta||^2", lines)


def _isometry(nets: int, units: int, sigma_w: float, input_sq: float) -> Iterator[Finding]:
    """Spread of the squared singular values of d h_T / d h_(T-8), variance over squared mean."""
    steps = 8
    q = settled(sigma_w, input_sq)
    (fourth,), _ = theory.expectation("tanh", [q], of=lambda phi, slope: slope**4)
    (second,), _ = theory.expectation("tanh", [q], of=lambda phi, slope: slope**2)
    flatness = fourth / second**2
    for name, orthogonal, expected in (
        ("orthogonal", True, steps * (flatness - 1)),
        ("Gaussian", False, steps * flatness),
    ):
        weight = drawn(f"isometry {name}", nets, units, units, sigma_w=sigma_w, orthogonal=orthogonal)
        net = through_time("tanh", weight, list(sqrt(input_sq) * noise("inputs", SETTLED, nets, 1, units)))
        squares = torch.linalg.svdvals(net.jacobian(steps)).square()
        spread = (squares.var(dim=1) / squares.mean(dim=1) ** 2).numpy()
        yield Row(
            row=f"spread of singular values, {name}",
            statement=f"variance over squared mean of the squared singular values over {steps} critical steps",
            published=expected,
            measured=mean_of(spread),
            tolerance=relative(
                expected, 0.35, "as in Pennington et al. 2017: steps / width and tied weights"
            ),
            source=f"{SOURCE}, dynamical isometry; L (mu_2 / mu_1^2 - 1 - s_1) of Pennington et al. 2017",
            provenance="D",
        )


def gate_moments(variance: float, bias: float) -> tuple[float, float, float]:
    """E[u^2], E[(1 - u)^2] and E[u'^2] of a sigmoid gate."""

    def mean(of: Callable[[Array, Array], Array]) -> float:
        (value,), _ = theory.expectation("sigmoid", [variance], of=of, mean=bias)
        return float(value)

    return mean(lambda u, slope: u**2), mean(lambda u, slope: (1 - u) ** 2), mean(lambda u, slope: slope**2)


def gated(sigma_v: float, bias: float, *, input_sq: float = 1.0) -> tuple[float, float]:
    """Q and chi of the minimalRNN with inputs x of variance R, and W x of variance R."""
    state = input_sq
    for _ in range(2000):
        kept, new, slope = gate_moments(sigma_v**2 * state + input_sq, bias)
        after = new * input_sq / (1 - kept)
        if abs(after - state) < 1e-12:
            break
        state = after
    return state, kept + sigma_v**2 * slope * (state + input_sq)


def kept_share(sigma_v: float, bias: float) -> float:
    """Share of chi that comes past the gate's weights: E[u^2] / chi."""
    state, chi = gated(sigma_v, bias)
    return gate_moments(sigma_v**2 * state + 1.0, bias)[0] / chi


def _gated(nets: int, units: int) -> Iterator[Finding]:
    for sigma_v, bias, tied in ((2.0, 0.0, True), (4.0, 4.0, False), (4.0, 4.0, True)):
        state, chi = gated(sigma_v, bias)
        q, fall = _minimal(nets, units, sigma_v, bias, tied=tied)
        weights = "the same weights in every step" if tied else "weights drawn anew for every step"
        name = f"sigma_v = {sigma_v:g}, bias {bias:g}, {'tied' if tied else 'untied'}"
        yield Row(
            row=f"minimalRNN, state, {name}",
            statement=f"variance of h, settled, {weights} (width {units})",
            published=state,
            measured=mean_of(q.numpy()),
            tolerance=relative(
                state, 4 * sqrt(8 / units / nets), "4 standard errors: steps are not independent"
            ),
            source=f"{SOURCE}, minimalRNN; the recurrence of Q derived from its definition",
            provenance="D",
            found=KEPT if bias and tied else "",
        )
        yield Row(
            row=f"minimalRNN, gradient, {name}",
            statement=f"log of ||delta||^2 {STEPS} steps back, {weights}",
            published=STEPS * log(chi),
            measured=mean_of(fall.numpy()),
            tolerance=absolute(
                STEPS * log(chi),
                log_noise(np.full(STEPS, 1 - kept_share(sigma_v, bias)), width=units, nets=nets)
                + (STEPS**2 / units / 2 if tied else 0.0),
                "3 standard errors; tied weights add terms of order steps^2 / units",
            ),
            source=f"{SOURCE}, minimalRNN; chi derived from its definition",
            provenance="D",
        )
    scales = np.linspace(0.25, 6, 24)
    times: dict[str, Array] = {
        "tanh": np.array([abs(log(float(step_factors("tanh", s**2, [settled(s, 0.2)])[0]))) for s in scales]),
        "minimalRNN": np.array([abs(log(gated(s, 4.0)[1])) for s in scales]),
    }
    wide = {name: float((rates < 0.1).mean()) for name, rates in times.items()}
    yield Row(
        row="broader trainable region",
        statement="range of recurrent weights with a gradient scale above 10 steps: minimalRNN's (bias 4) over tanh's",
        published="much broader",
        measured=exactly(wide["minimalRNN"] / wide["tanh"]),
        tolerance=at_least(2.0, "twice at least, for the word much"),
        source=f"{SOURCE}, abstract: gated networks have a much broader trainable region",
        provenance="P",
    )
    yield Panel(
        "Steps over which the gradient lives",
        "scale of the recurrent weights",
        "1 / |log chi|",
        [Series(name, list(scales), list(1 / np.maximum(rates, 1e-3))) for name, rates in times.items()],
        log_y=True,
    )


def _minimal(nets: int, units: int, sigma_v: float, bias: float, *, tied: bool) -> tuple[Tensor, Tensor]:
    """Variance of the settled h and the log of ||delta||^2 over STEPS steps back, [net] each."""
    steps = 300 if bias else 120  # a kept state changes slowly
    x, given = noise("minimal inputs", steps, nets, 1, units), noise("minimal gates", steps, nets, 1, units)
    start = h = torch.zeros_like(x[0])
    weight = drawn("gate", nets, units, units, sigma_w=sigma_v)
    squares = []
    for step in range(steps):
        if not tied:
            weight = drawn(f"gate {step}", nets, units, units, sigma_w=sigma_v)
        if step == steps - STEPS:
            start = h = h.detach().requires_grad_(True)
        u = torch.sigmoid(h @ weight + given[step] + bias)
        h = u * h + (1 - u) * x[step]
        if step >= steps // 2:
            squares.append(h.detach().square().mean(dim=(1, 2)))
    cotangent = noise("cotangent", *h.shape)
    (back,) = torch.autograd.grad(h, start, cotangent)
    fall = (back.square().sum(dim=(1, 2)) / cotangent.square().sum(dim=(1, 2))).log()
    return torch.stack(squares, dim=1).mean(dim=1), fall
