"""The phase diagram: chi_1 over a grid of sigma_w and sigma_b, and the critical line between its phases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlab.activations import Activation
from gradlab.theory.critical import critical
from gradlab.theory.describe import settle
from gradlab.theory.fixed_points import curve

CRITICAL = 1e-6  # chi_1 this close to 1 is called critical


def phase(chi_1: float) -> str:
    """ordered: gradients vanish, inputs become alike; chaotic: they explode, inputs part; critical: between."""
    if abs(chi_1 - 1) < CRITICAL:
        return "critical"
    return "ordered" if chi_1 < 1 else "chaotic"


def phase_diagram(
    activation: Activation | str,
    *,
    sigma_w: Sequence[float],
    sigma_b: Sequence[float],
    q0: float = 1.0,
    bias: float = 0.0,
) -> dict[str, Any]:
    """{"activation", "grid": [a row per pair of sigma_w and sigma_b], "critical_line": [a row per sigma_b]}.

    A grid row: sigma_w, sigma_b, q_star, q_star_stable, q_star_reason, chi_1, phase. A row of the line: sigma_b,
    sigma_w (None where there is no critical point), q, reason. (Poole et al. 2016, figure 1.)
    Raises ConfigError for an unknown activation and for softmax.

    >>> from gradlab import theory
    >>> diagram = theory.phase_diagram("tanh", sigma_w=[0.9, 2.0], sigma_b=[0.1])
    >>> [row["phase"] for row in diagram["grid"]]
    ['ordered', 'chaotic']
    """
    moment_curve = curve(activation, mean=bias)
    grid = []
    for spread in sigma_b:
        for weight in sigma_w:
            settled = settle(moment_curve, weight, spread, q0)
            grid.append(
                {
                    "sigma_w": weight,
                    "sigma_b": spread,
                    "q_star": settled.q_star,
                    "q_star_stable": settled.stable,
                    "q_star_reason": settled.reason,
                    "chi_1": settled.chi_1,
                    "phase": phase(settled.chi_1),
                }
            )
    line = []
    for spread in sigma_b:
        found = critical(moment_curve.activation, sigma_b=spread, bias=bias, moment_curve=moment_curve)
        line.append({"sigma_b": spread, "sigma_w": found.sigma_w, "q": found.q, "reason": found.reason})
    return {"activation": moment_curve.activation.text, "grid": grid, "critical_line": line}
