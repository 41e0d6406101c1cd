"""Initialisers, as the two moments the theory needs and the shape of the draw; free of torch.

A weight has variance sigma_w^2 / fan_in and a bias variance sigma_b^2, around a constant bias that every
initialiser accepts (`:bias=C`). `gradlab.nn.draws` makes the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Literal

from gradlab.activations import Activation
from gradlab.base.errors import ConfigError, Problem, nearest
from gradlab.base.grammar import Parameter, bind, parse_item, write_item

Distribution = Literal["normal", "uniform", "orthogonal", "constant"]


@dataclass(frozen=True, kw_only=True)
class Init:
    """An initialiser bound to an activation.

    text:         as configured, canonically; `rule` is the registered name it came down to (`auto` resolved)
    distribution: the shape of the weight draw
    sigma_w:      sigma_w(fan_in, fan_out), where Var W = sigma_w^2 / fan_in; None for `constant`, which has none
    sigma_b:      sigma_b(fan_in, fan_out), the standard deviation of the biases around `bias`
    bias:         constant part of every bias
    weight:       the value of every weight, for `constant` alone
    lsuv:         tolerance of a data-driven rescaling to unit variance after the draw; None for none
    """

    text: str
    rule: str
    distribution: Distribution
    sigma_w: Callable[[int, int], float] | None
    sigma_b: Callable[[int, int], float]
    bias: float = 0.0
    weight: float = 0.0
    lsuv: float | None = None

    @property
    def predicted(self) -> bool:
        """Whether mean-field theory speaks about this initialiser."""
        return self.sigma_w is not None and self.lsuv is None


@dataclass(frozen=True, kw_only=True)
class InitDefinition:
    """One registered initialiser; `sigma_w` and `sigma_b` take (fan_in, fan_out, activation, parameters).

    derive: further parameters that the activation decides, from (activation, parameters, where); it may refuse
    """

    summary: str
    distribution: Distribution
    sigma_w: Callable[[int, int, Activation, Mapping[str, float]], float] | None
    derive: Callable[[Activation, Mapping[str, float], str], dict[str, float]] | None = None
    sigma_b: Callable[[int, int, Activation, Mapping[str, float]], float] = lambda *_: 0.0
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def he_gain(activation: Activation) -> float:
    """sqrt(2 / (1 + a^2)) for slope a below 0 (He et al. 2015, eq. 15); sqrt(2) where there is none."""
    if activation.name in ("leaky_relu", "prelu"):
        return sqrt(2 / (1 + activation.negative_slope**2))
    return sqrt(2)


def auto_rule(activation: Activation) -> str:
    """What `auto` means: Glorot for bounded shapes and linear, LeCun for SELU, He for every other."""
    if activation.family in ("logistic", "linear"):
        return "glorot"
    return "lecun" if activation.name == "selu" else "he"


def _gain(activation: Activation) -> float:
    """The orthogonal scale that keeps the signal, by the same rule as `auto`."""
    return he_gain(activation) if auto_rule(activation) == "he" else 1.0


def _glorot(fan_in: int, fan_out: int, _: Activation, parameters: Mapping[str, float]) -> float:
    return parameters["gain"] * sqrt(2 * fan_in / (fan_in + fan_out))


def _he(fan_in: int, fan_out: int, activation: Activation, parameters: Mapping[str, float]) -> float:
    return parameters.get("gain", he_gain(activation))


def _lecun(fan_in: int, fan_out: int, _: Activation, parameters: Mapping[str, float]) -> float:
    return parameters["gain"]


def _orthogonal(fan_in: int, fan_out: int, activation: Activation, parameters: Mapping[str, float]) -> float:
    # With more outputs than inputs only the rows can be orthonormal; a column's norm is then sqrt(fan_in / fan_out).
    return parameters.get("gain", _gain(activation)) * min(1.0, sqrt(fan_in / fan_out))


def _gaussian(fan_in: int, fan_out: int, _: Activation, parameters: Mapping[str, float]) -> float:
    return parameters["sigma_w"]


def _sigma_b(fan_in: int, fan_out: int, _: Activation, parameters: Mapping[str, float]) -> float:
    return parameters["sigma_b"]


def _critical(activation: Activation, parameters: Mapping[str, float], where: str) -> dict[str, float]:
    """sigma_w on the edge of chaos for the given sigma_b. Raises ConfigError where there is none."""
    from gradlab import theory

    point = theory.critical(activation, sigma_b=parameters["sigma_b"], bias=parameters["bias"])
    if point.sigma_w is None:
        allowed = "another sigma_b, activation or init"
        if point.half_stable is not None:
            at = point.half_stable
            allowed = f"half_stable (sigma_w = {at.sigma_w:.6g}, sigma_b = {at.sigma_b:.6g}), or {allowed}"
        raise ConfigError(Problem(where, f"{activation.text} has no critical point: {point.reason}", allowed))
    return {"sigma_w": point.sigma_w}


def _half_stable(activation: Activation, parameters: Mapping[str, float], where: str) -> dict[str, float]:
    """sigma_w and sigma_b where the length map touches the diagonal. Raises ConfigError where it never does."""
    from gradlab import theory

    point = theory.critical(activation, bias=parameters["bias"]).half_stable
    if point is None:
        raise ConfigError(
            Problem(where, f"{activation.text} has no half-stable point", "critical, or another init")
        )
    return {"sigma_w": point.sigma_w, "sigma_b": point.sigma_b}


BIAS = {"bias": Parameter(default=0.0, meaning="constant added to every bias")}
GAIN_1 = {"gain": Parameter(default=1.0, low=0, open_low=True, meaning="factor on the weights"), **BIAS}
GAIN_PHI = {
    "gain": Parameter(
        default=None,
        low=0,
        open_low=True,
        meaning="factor on the weights; by default what fits the activation",
    ),
    **BIAS,
}

INITS: dict[str, InitDefinition] = {
    "auto": InitDefinition(
        summary="glorot for bounded shapes and linear, lecun for selu, he for every other",
        distribution="normal",
        sigma_w=None,
        parameters=BIAS,
    ),
    "torch": InitDefinition(
        summary="nn.Linear's default: weights and biases uniform in +-1/sqrt(fan_in)",
        distribution="uniform",
        sigma_w=lambda *_: 1 / sqrt(3),
        sigma_b=lambda fan_in, *_: 1 / sqrt(3 * fan_in),
        parameters=BIAS,
    ),
    "glorot": InitDefinition(
        summary="normal, variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010)",
        distribution="normal",
        sigma_w=_glorot,
        parameters=GAIN_1,
    ),
    "glorot_uniform": InitDefinition(
        summary="uniform, variance 2 / (fan_in + fan_out)",
        distribution="uniform",
        sigma_w=_glorot,
        parameters=GAIN_1,
    ),
    "he": InitDefinition(
        summary="normal, variance 2 / fan_in, 2 / ((1 + a^2) fan_in) for slope a below 0 (He et al. 2015)",
        distribution="normal",
        sigma_w=_he,
        parameters=GAIN_PHI,
    ),
    "he_uniform": InitDefinition(
        summary="uniform, the variance of he", distribution="uniform", sigma_w=_he, parameters=GAIN_PHI
    ),
    "lecun": InitDefinition(
        summary="normal, variance 1 / fan_in (LeCun et al. 1998)",
        distribution="normal",
        sigma_w=_lecun,
        parameters=GAIN_1,
    ),
    "lecun_uniform": InitDefinition(
        summary="uniform, variance 1 / fan_in", distribution="uniform", sigma_w=_lecun, parameters=GAIN_1
    ),
    "orthogonal": InitDefinition(
        summary="random orthonormal rows or columns times a gain (Saxe et al. 2014)",
        distribution="orthogonal",
        sigma_w=_orthogonal,
        parameters=GAIN_PHI,
    ),
    "gaussian": InitDefinition(
        summary="normal, weight variance sigma_w^2 / fan_in and bias variance sigma_b^2",
        distribution="normal",
        sigma_w=_gaussian,
        sigma_b=_sigma_b,
        parameters={
            "sigma_w": Parameter(default=1.0, low=0, open_low=True, high=1e100, meaning="weight scale"),
            "sigma_b": Parameter(default=0.0, low=0, meaning="standard deviation of the biases"),
            **BIAS,
        },
    ),
    "critical": InitDefinition(
        summary="normal, sigma_w such that the gradient neither grows nor shrinks (Schoenholz et al. 2017)",
        distribution="normal",
        sigma_w=_gaussian,
        sigma_b=_sigma_b,
        derive=_critical,
        parameters={
            "sigma_b": Parameter(default=0.0, low=0, meaning="standard deviation of the biases"),
            **BIAS,
        },
    ),
    "half_stable": InitDefinition(
        summary="normal, at the point where gelu, silu and their like are critical (Roberts, Yaida & Hanin 2022)",
        distribution="normal",
        sigma_w=_gaussian,
        sigma_b=_sigma_b,
        derive=_half_stable,
        parameters=BIAS,
    ),
    "lsuv": InitDefinition(
        summary="orthogonal, then each layer scaled to unit variance on the data (Mishkin & Matas 2016)",
        distribution="orthogonal",
        sigma_w=_orthogonal,
        parameters={
            "tolerance": Parameter(
                default=0.1, low=0, open_low=True, meaning="largest distance of the variance from 1"
            ),
            "gain": Parameter(default=1.0, low=0, open_low=True, meaning="factor before the scaling"),
            **BIAS,
        },
    ),
    "constant": InitDefinition(
        summary="every weight the same number: all units of a layer stay equal",
        distribution="constant",
        sigma_w=None,
        parameters={"value": Parameter(default=0.01, meaning="the weight"), **BIAS},
    ),
}


def get(text: str, activation: Activation, where: str = "init") -> Init:
    """The initialiser written as `text`, bound to the activation its gain depends on.

    Raises ConfigError naming `where` for an unknown name or parameter.
    """
    item = parse_item(text, where)
    definition = INITS.get(item.name)
    if definition is None or item.attribute is not None:
        raise ConfigError(
            Problem(where, f"unknown init {item.name!r}", ", ".join(INITS), nearest(item.name, list(INITS)))
        )
    values = bind(item.given, definition.parameters, item.name, where)
    text = write_item(item.name, values, definition.parameters)
    rule = item.name
    if rule == "auto":
        rule = auto_rule(activation)
        definition = INITS[rule]
        values = bind({"bias": values["bias"]}, definition.parameters, rule, where)
    numbers = {key: float(value) for key, value in values.items()}
    if definition.derive is not None:
        numbers |= _derived(activation, definition.derive, tuple(numbers.items()), where)
    sigma_w, sigma_b = definition.sigma_w, definition.sigma_b
    return Init(
        text=text,
        rule=rule,
        distribution=definition.distribution,
        sigma_w=None if sigma_w is None else lambda i, o: sigma_w(i, o, activation, numbers),
        sigma_b=lambda i, o: sigma_b(i, o, activation, numbers),
        bias=numbers["bias"],
        weight=numbers.get("value", 0.0),
        lsuv=numbers.get("tolerance"),
    )


_Derivation = Callable[[Activation, Mapping[str, float], str], dict[str, float]]
_derivations: dict[tuple[str, str, _Derivation, tuple[tuple[str, float], ...]], dict[str, float]] = {}


def _derived(
    activation: Activation, derive: _Derivation, numbers: tuple[tuple[str, float], ...], where: str
) -> dict[str, float]:
    """What the activation decides, computed once a process: a critical point costs a tenth of a second."""
    key = (activation.text, activation.source, derive, numbers)
    if key not in _derivations:
        _derivations[key] = derive(activation, dict(numbers), where)
    return _derivations[key]
