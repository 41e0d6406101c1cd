"""What verdicts and remedies ask about the parts of a net, each named as a cell's columns write it.

Of a part that is the user's own nothing is known: a table must not make gradlab import what it names.
"""

from __future__ import annotations

from math import nan

import numpy as np

from gradlab.activations import registered
from gradlab.parts.optimizers import OPTIMIZERS
from gradlab.parts.residuals import RESIDUALS

ZERO = np.zeros(())


def usual_rate(optimizer: str) -> float:
    """The rate at which nets of every kind here train on digits; NaN for one of the user's own."""
    return OPTIMIZERS[_name(optimizer)].usual_rate if _name(optimizer) in OPTIMIZERS else nan


def is_s_shaped(activation: str) -> bool:
    """Whether an activation is of the logistic family, flat on both sides."""
    known = registered(activation)
    return known is not None and known.family == "logistic"


def is_centred(activation: str) -> bool:
    """Whether phi(0) = 0, so that its outputs do not all lie on one side."""
    known = registered(activation)
    return known is None or (known.phi is not None and float(known.phi(ZERO)) == 0)


def is_homogeneous(activation: str) -> bool:
    """Whether phi(a z) = a phi(z) for a > 0, so that larger weights leave its slopes as they are."""
    known = registered(activation)
    if known is None or known.phi is None:
        return False
    z = np.array([-3.0, -1.0, 1.0, 3.0])
    return bool(np.allclose(known.phi(7 * z), 7 * known.phi(z)))


def slope_at_0_is_1(activation: str) -> bool:
    """Whether phi'(0) = 1, so that sigma_w = 1 is the edge of chaos of an S-shape."""
    known = registered(activation)
    return known is None or known.slope is None or float(known.slope(ZERO)) == 1


def closed_at_birth(residual: str) -> bool:
    """Whether a scheme's branches give 0 until training opens them, so that no delta comes into them at birth."""
    return _name(residual) in RESIDUALS and RESIDUALS[_name(residual)].closed


def grows(residual: str) -> bool:
    """Whether a scheme's sum x + F(x) doubles the signal's variance, and the gradient's, at every block."""
    return _name(residual) in RESIDUALS and RESIDUALS[_name(residual)].grows


def has_skips(residual: str) -> bool:
    return _name(residual) != "none"


def _name(item: str) -> str:
    return item.partition(":")[0]
