"""Moments of an activation under Gaussian pre-activations: what every mean-field quantity is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gradlab import activations
from gradlab.activations import Activation
from gradlab.activations.spec import Array
from gradlab.base.errors import ConfigError, Problem
from gradlab.theory.quadrature import gaussian_mean

# q = 0 means the limit from above: a deviation small enough to see only the one-sided slopes at the mean, and
# large enough that its square is still a normal number.
SMALLEST_DEVIATION = 1e-100

NOT_ELEMENTWISE = "{} is not elementwise: mean-field theory makes no prediction"


@dataclass(frozen=True)
class Moments:
    """Moments at z ~ N(mean, q); every array has the shape of q.

    phi_sq:       E[phi(z)^2]
    slope_sq:     E[phi'(z)^2]
    phi_sq_by_q:  d E[phi(z)^2] / d q
    error:        largest quadrature error estimate of the three, relative to its moment
    """

    q: Array
    phi_sq: Array
    slope_sq: Array
    phi_sq_by_q: Array
    error: Array


def elementwise(
    activation: Activation | str, where: str = "activation"
) -> tuple[Activation, Callable[[Array], Array], Callable[[Array], Array]]:
    """The activation with its phi and phi'. Raises ConfigError for an unknown name and for softmax."""
    found = activations.get(activation, where, own=True) if isinstance(activation, str) else activation
    if found.phi is None or found.slope is None:
        raise ConfigError(
            Problem(
                where,
                NOT_ELEMENTWISE.format(found.text),
                "an elementwise activation: gradlab list activations",
            )
        )
    return found, found.phi, found.slope


def expectation(
    activation: Activation | str,
    q: ArrayLike,
    *,
    of: Callable[[Array, Array], Array] = lambda phi, slope: phi**2,
    mean: float = 0.0,
    tolerance: float = 1e-13,
) -> tuple[Array, Array]:
    """E[of(phi(z), phi'(z))] for z ~ N(mean, q), and the quadrature's error estimate, in the shape of q.

    q: variance of the pre-activation, >= 0; at 0 the limit from above. By default E[phi(z)^2].
    tolerance: of the quadrature, relative
    Raises ConfigError for an activation that is unknown or not elementwise, and for q < 0.

    >>> from gradlab import theory
    >>> mean, error = theory.expectation("relu", 1.0, of=lambda phi, slope: slope)
    >>> round(float(mean), 9)  # half of a normal variable's values are positive
    0.5
    """
    found, phi, slope = elementwise(activation)
    variance = _variance(q)
    value, error = gaussian_mean(
        lambda z, x: of(phi(z), slope(z))[None],
        np.full(variance.size, float(mean)),
        np.maximum(np.sqrt(variance.ravel()), SMALLEST_DEVIATION),
        kinks=found.kinks,
        kinks_known=found.kinks_known,
        tolerance=tolerance,
    )
    return value[0].reshape(variance.shape), error[0].reshape(variance.shape)


def moments(activation: Activation | str, q: ArrayLike, *, mean: float = 0.0) -> Moments:
    """The moments at z ~ N(mean, q), for any shape of q >= 0 (at 0 the limit from above).

    The derivative comes from the normal density's own, d/dq E[g(z)] = E[g(z) (x^2 - 1)] / (2 q) with
    z = mean + sqrt(q) x, which holds for any g, jumps included.

    >>> from gradlab import theory
    >>> relu = theory.moments("relu", 2.0)
    >>> round(float(relu.phi_sq), 9), round(float(relu.slope_sq), 9)  # q / 2 and 1 / 2
    (1.0, 0.5)
    """
    found, phi, slope = elementwise(activation)
    variance = _variance(q)

    def integrand(z: Array, x: Array) -> Array:
        square = phi(z) ** 2
        return np.stack([square, slope(z) ** 2, square * (x * x - 1) / 2])

    deviation = np.maximum(np.sqrt(variance.ravel()), SMALLEST_DEVIATION)
    value, error = gaussian_mean(
        integrand,
        np.full(variance.size, float(mean)),
        deviation,
        kinks=found.kinks,
        kinks_known=found.kinks_known,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.nan_to_num(error / np.abs(np.stack([value[0], value[1], value[0]])), nan=0.0)
    shape = variance.shape
    return Moments(
        variance,
        np.where(variance == 0, phi(np.full(shape, float(mean))) ** 2, value[0].reshape(shape)),
        value[1].reshape(shape),
        (value[2] / deviation**2).reshape(shape),
        relative.max(axis=0).reshape(shape),
    )


def _variance(q: ArrayLike) -> Array:
    variance = np.asarray(q, dtype=np.float64)
    if np.any(~(variance >= 0)):
        raise ConfigError(Problem("q", f"{q!r} is no variance", "numbers >= 0"))
    return variance
