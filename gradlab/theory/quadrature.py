"""Gaussian expectations by piecewise Gauss-Legendre quadrature, refined where two resolutions disagree.

Gauss-Hermite is wrong for activations with kinks (180 nodes give E[hardtanh'(x)^2] = 0.6516; the truth is
0.6827), so the real line is cut at the kinks and the pieces are integrated against the normal density.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gradlab.activations.spec import Array

REACH = 38.0  # the density at 38 standard deviations is the smallest that float64 still holds
FINE, FINE_WEIGHTS = np.polynomial.legendre.leggauss(20)
COARSE, COARSE_WEIGHTS = np.polynomial.legendre.leggauss(12)
EDGES = np.array([-1 + 1e-12, 1 - 1e-12])
NODES = np.concatenate([FINE, COARSE, EDGES])
# the polynomial through the fine nodes, at the panel's edges
AT_EDGES = np.polynomial.legendre.legvander(EDGES, len(FINE) - 1) @ np.linalg.inv(
    np.polynomial.legendre.legvander(FINE, len(FINE) - 1)
)
STRIP = 0.01  # the strip between a panel's edge and its first node, in half widths, rounded up
LEVELS = 52  # halvings of a panel: down to float64's own spacing, where a jump nobody declared can hide
OWNERS = 512  # expectations taken together: bounds the memory, not the answer
PANELS = 600  # refinement of one expectation stops here, and the error estimate says what is left

Integrand = Callable[[Array, Array], Array]


def gaussian_mean(
    integrand: Integrand,
    mean: Array,
    deviation: Array,
    *,
    kinks: Sequence[float] = (),
    cuts: Sequence[float] = (),
    kinks_known: bool = True,
    tolerance: float = 1e-13,
    reach: float = REACH,
) -> tuple[Array, Array]:
    """E[f(z, x)] with z = mean + deviation * x and x ~ N(0, 1), and an estimate of its error.

    integrand:       f(z, x) -> [k, *shape of z]: k functions at once
    mean, deviation: [n], deviation > 0: n expectations at once
    kinks:           values of z where f or a derivative jumps
    cuts:            further values of x to cut at
    kinks_known:     False starts from finer panels and looks for kinks at their edges too
    tolerance:       largest disagreement of the 12- and the 20-node rule on a panel, relative to E|f|;
                     a panel that exceeds it is halved
    reach:           the integral runs over |x| <= reach

    Returns (values [k, n], errors [k, n]).
    """
    parts = [
        _batch(
            integrand,
            mean[start : start + OWNERS],
            deviation[start : start + OWNERS],
            (tuple(kinks), tuple(cuts)),
            kinks_known,
            tolerance,
            reach,
        )
        for start in range(0, len(mean), OWNERS)
    ]
    return np.concatenate([p[0] for p in parts], axis=1), np.concatenate([p[1] for p in parts], axis=1)


def _batch(
    integrand: Integrand,
    mean: Array,
    deviation: Array,
    splits: tuple[tuple[float, ...], tuple[float, ...]],
    kinks_known: bool,
    tolerance: float,
    reach: float,
) -> tuple[Array, Array]:
    edges = _edges(mean, deviation, *splits, kinks_known, reach)
    keep = edges[:, 1:] > edges[:, :-1]
    owner = np.nonzero(keep)[0]
    low, high = edges[:, :-1][keep], edges[:, 1:][keep]
    total = error = scale = np.zeros((0, len(mean)))
    panels = np.zeros(len(mean), dtype=np.intp)
    for level in range(LEVELS + 1):
        half, middle = (high - low) / 2, (high + low) / 2
        x = middle[:, None] + half[:, None] * NODES
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            density = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
            f = integrand(mean[owner, None] + deviation[owner, None] * x, x) * density
            fine = (f[..., : len(FINE)] @ FINE_WEIGHTS) * half
            gap = np.abs(fine - (f[..., len(FINE) : -2] @ COARSE_WEIGHTS) * half)
            if not kinks_known:  # a jump between the edge and the first node: no rule inside can see it
                beyond = np.abs(f[..., -2:] - f[..., : len(FINE)] @ AT_EDGES.T).max(axis=-1)
                gap = np.maximum(gap, STRIP * half * beyond)
        if level == 0:
            total, error = (np.zeros((len(fine), len(mean))) for _ in range(2))
            scale = _sum(np.abs(fine), owner, len(mean))
        scale = np.maximum(scale, np.abs(total) + _sum(fine, owner, len(mean)))
        with np.errstate(invalid="ignore"):
            rough = (gap > tolerance * scale[:, owner]).any(axis=0)
        rough &= half > 1e-15 * np.maximum(1.0, np.abs(middle))
        panels += np.bincount(owner, minlength=len(mean))
        rough &= (panels[owner] < PANELS) & (level < LEVELS)
        total += _sum(fine[:, ~rough], owner[~rough], len(mean))
        error += _sum(gap[:, ~rough], owner[~rough], len(mean))
        if not rough.any():
            break
        owner = np.concatenate([owner[rough], owner[rough]])
        low, high = (
            np.concatenate([low[rough], middle[rough]]),
            np.concatenate([middle[rough], high[rough]]),
        )
    return total, error


def _edges(
    mean: Array,
    deviation: Array,
    kinks: tuple[float, ...],
    cuts: tuple[float, ...],
    kinks_known: bool,
    reach: float,
) -> Array:
    """Panel edges in x, [n, edges], ascending: the density's own scale, the activation's, the kinks.

    An activation bends where |z| is about 1, whatever the deviation: with a deviation of 1000 that is a
    sliver around x = -mean / deviation, which panels of the density's scale alone would step over.
    """
    step = 1.0 if kinks_known else 0.25
    if reach < REACH:  # the tails do not count: fewer and wider panels to start from
        step *= 2
    inner = np.arange(step, 4, step)
    side = np.concatenate([inner, [4, 6.5, 10, 14, 20, 28, 38]])
    side = np.append(side[side < reach], reach)
    widest = np.max(np.abs(mean) + reach * deviation)
    levels = max(0, int(np.ceil(np.log(16 * widest) / np.log(8)))) if np.isfinite(widest) else 0
    bends = 8.0 ** np.arange(levels) / 16
    in_x = np.concatenate([-side, [0.0], side, np.asarray(cuts, dtype=np.float64)])
    in_z = np.concatenate([-bends, [0.0], bends, np.asarray(kinks, dtype=np.float64)])
    mapped = (in_z - mean[:, None]) / deviation[:, None]
    edges = np.concatenate([np.broadcast_to(in_x, (len(mean), len(in_x))), mapped], axis=1)
    return np.sort(np.clip(edges, -reach, reach), axis=1)


def _sum(values: Array, owner: np.ndarray[tuple[int], np.dtype[np.intp]], count: int) -> Array:
    return np.stack([np.bincount(owner, weights=row, minlength=count) for row in values])
