"""The activation functions of a result as curves: phi and its slope."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradlab import activations
from gradlab.activations import Activation
from gradlab.report.selections import Array


def known(names: Sequence[str]) -> list[Activation]:
    """The elementwise activations of the registry among these texts.

    A user's own is left out: a report reads tables that may come from elsewhere, and must import nothing they name.
    """
    found = []
    for name in dict.fromkeys(names):
        activation = activations.registered(name)
        if activation is not None and activation.elementwise:
            found.append(activation)
    return found


def sample(activation: Activation, reach: float = 4.0, points: int = 401) -> tuple[Array, Array, Array]:
    """(z, phi(z), phi'(z)) from -reach to reach; the slope is broken at kinks, where it jumps."""
    assert activation.phi is not None and activation.slope is not None
    z = np.linspace(-reach, reach, points)
    inside = [kink for kink in activation.kinks if abs(kink) < reach]
    z = np.sort(np.concatenate([z, *([kink - 1e-9, kink + 1e-9] for kink in inside)]))
    return z, activation.phi(z), activation.slope(z)
