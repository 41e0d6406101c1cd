"""Everything the theory says about one net, as `gradlab theory` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, nan
from typing import Any

from gradlab.activations import Activation
from gradlab.theory.band import band
from gradlab.theory.correlation import correlation_fixed_point
from gradlab.theory.critical import Critical, critical
from gradlab.theory.fixed_points import ANY_Q, FAR, FLAT, Curve, curve, fixed_points, length_scale, reached
from gradlab.theory.prediction import predict


@dataclass(frozen=True)
class LayerPrediction:
    """One hidden layer: variance q of z, chi, delta_rms relative to the top hidden layer.

    low, high: with a width, the band in which one net's measured / predicted delta_rms_ratio lies (4 sigma)
    """

    layer: int
    q: float
    chi: float
    delta_rms_ratio: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Description:
    """The fixed point a net runs to, its depth scales (in layers), the critical point, and every layer.

    q_star:         None with `q_star_reason` where any q is fixed, or q grows without bound
    chi_1:          at q_star; where any q is fixed, at any; where q grows, the limit (nan without one)
    xi_q, xi_c:     depth scales of q and of the correlation; inf where they do not settle exponentially
    c_star:         None where every correlation is kept
    gradient_scale: 1 / |log chi_1|, layers in which ||delta||^2 changes by a factor e
    """

    activation: str
    sigma_w: float
    sigma_b: float
    q_star: float | None
    q_star_stable: bool | None
    q_star_reason: str | None
    chi_1: float
    gradient_scale: float
    xi_c: float
    xi_q: float
    c_star: float | None
    critical: Critical
    layers: tuple[LayerPrediction, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON document of `gradlab theory --json` (non-finite numbers still as floats)."""
        half = self.critical.half_stable
        layers = []
        for each in self.layers:
            row = {key: getattr(each, key) for key in ("layer", "q", "chi", "delta_rms_ratio")}
            if each.low is not None:
                row |= {"low": each.low, "high": each.high}
            layers.append(row)
        return {
            "activation": self.activation,
            "sigma_w": self.sigma_w,
            "sigma_b": self.sigma_b,
            "q_star": self.q_star,
            "q_star_stable": self.q_star_stable,
            "q_star_reason": self.q_star_reason,
            "chi_1": self.chi_1,
            "xi_c": None if self.c_star is None else self.xi_c,
            "xi_q": None if self.q_star is None else self.xi_q,
            "c_star": self.c_star,
            "critical_sigma_w": self.critical.sigma_w,
            "critical_reason": self.critical.reason,
            "half_stable": None
            if half is None
            else {"sigma_w": half.sigma_w, "sigma_b": half.sigma_b, "q": half.q},
            "layers": layers,
        }


@dataclass(frozen=True)
class Settled:
    """Where the length map takes a net: see Description. q is where chi_1 was taken (FAR for the limit)."""

    q_star: float | None
    stable: bool | None
    reason: str | None
    q: float
    chi_1: float
    xi_q: float


def settle(moment_curve: Curve, sigma_w: float, sigma_b: float = 0.0, q0: float = 1.0) -> Settled:
    """The fixed point that inputs of mean square q0 run to, and chi_1 there."""
    point, reason = reached(
        moment_curve,
        fixed_points(moment_curve, sigma_w, sigma_b),
        sigma_w**2 * q0 + sigma_b**2,
        sigma_w,
        sigma_b,
    )
    q = point.q if point else 1.0 if reason == ANY_Q else FAR
    chi_1 = sigma_w**2 * float(moment_curve.at(q).slope_sq)
    xi_q = length_scale(point.slope) if point else inf if reason == ANY_Q else nan
    return Settled(point.q if point else None, point.stable if point else None, reason, q, chi_1, xi_q)


def describe(
    activation: Activation | str,
    *,
    sigma_w: float,
    sigma_b: float = 0.0,
    bias: float = 0.0,
    depth: int = 20,
    q0: float = 1.0,
    width: int | None = None,
    moment_curve: Curve | None = None,
) -> Description:
    """The theory of a net of `depth` equal hidden layers.

    sigma_w, sigma_b: Var W = sigma_w^2 / fan_in; biases have standard deviation sigma_b around `bias`
    q0:               mean square of the input
    width:            adds the finite-width band of one net; None leaves it out
    Raises ConfigError for an unknown activation and for softmax.

    >>> from gradlab import theory
    >>> relu = theory.describe("relu", sigma_w=1.0, depth=20)
    >>> round(relu.chi_1, 9), round(relu.layers[0].delta_rms_ratio / 0.5 ** (19 / 2), 6)  # sqrt(1/2) a layer, 19 times
    (0.5, 1.0)
    """
    found = moment_curve or curve(activation, mean=bias)
    settled = settle(found, sigma_w, sigma_b, q0)
    pair = correlation_fixed_point(found.activation, q=settled.q, sigma_w=sigma_w, sigma_b=sigma_b, bias=bias)
    net = predict(found.activation, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b, bias=bias, q0=q0)
    spread = band(net, width=width) if width is not None else None
    chi_1 = settled.chi_1
    return Description(
        activation=found.activation.text,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        q_star=settled.q_star,
        q_star_stable=settled.stable,
        q_star_reason=settled.reason,
        chi_1=chi_1,
        gradient_scale=0.0 if chi_1 == 0 else inf if abs(chi_1 - 1) < FLAT else 1 / abs(log(chi_1)),
        xi_c=pair.xi,
        xi_q=settled.xi_q,
        c_star=pair.c,
        critical=critical(found.activation, sigma_b=sigma_b, bias=bias, moment_curve=found),
        layers=tuple(
            LayerPrediction(
                layer + 1,
                float(net.q[layer]),
                float(net.chi[layer]),
                float(net.delta_rms_ratio[layer]),
                None if spread is None else float(spread.low[layer]),
                None if spread is None else float(spread.high[layer]),
            )
            for layer in range(depth)
        ),
    )
