"""Initialisers, as the two moments the theory needs and the shape of the draw; free of torch.

A weight has variance sigma_w^2 / fan_in and a bias variance sigma_b^2, around a constant bias that every
initialiser accepts (`:bias=C`). `gradlab.nn.draws` makes the numbers. A user's own is a function that fills a weight;
its moments are unknown.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING, Literal

from gradlab.base.errors import ConfigError, Problem
from gradlab.base.grammar import Item, Parameter, bind, parse_item
from gradlab.base.own import Own, load_own
from gradlab.base.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from gradlab.activations import Activation

Distribution = Literal["normal", "uniform", "orthogonal", "constant", "own"]


@dataclass(frozen=True, kw_only=True)
class Init:
    """An initialiser bound to an activation.

    text:         as configured, canonically; `rule` is the registered name it came down to (`auto` resolved)
    distribution: the shape of the weight draw
    sigma_w:      sigma_w(fan_in, fan_out), where Var W = sigma_w^2 / fan_in; None where there is none or nobody knows
    sigma_b:      sigma_b(fan_in, fan_out), the standard deviation of the biases around `bias`
    bias:         constant part of every bias
    weight:       the value of every weight, for `constant` alone
    lsuv:         tolerance of a data-driven rescaling to unit variance after the draw; None for none
    base:         width at which the maximal update parametrisation is the standard one; None for the standard one
    own:          what the user named; None for the registry's
    """

    text: str
    rule: str
    distribution: Distribution
    sigma_w: Callable[[int, int], float] | None
    sigma_b: Callable[[int, int], float] = lambda fan_in, fan_out: 0.0
    bias: float = 0.0
    weight: float = 0.0
    lsuv: float | None = None
    base: float | None = None
    own: Own | None = None

    @property
    def predicted(self) -> bool:
        """Whether mean-field theory speaks about this initialiser."""
        return self.sigma_w is not None and self.lsuv is None

    def readout_factor(self, width: int) -> float:
        """Factor on the readout's weights, whose variance falls as 1 / width^2 in the maximal update one."""
        return sqrt(self.base / width) if self.base else 1.0

    def fill(self, weight: Tensor) -> None:
        """Let a user's own fill a weight [fan_out, fan_in], drawing from torch's global generators."""
        assert self.own is not None
        shape = weight.shape
        with self.own.running():
            self.own.attribute(weight, **self.own.arguments)
        if weight.shape != shape:
            raise self.own.refused(
                f"made {[*weight.shape]} of a weight {[*shape]}", "the same shape, filled in place"
            )


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One registered initialiser; `sigma_w` and `sigma_b` take (fan_in, fan_out, activation, parameters).

    derive: further parameters that the activation decides, from (activation, parameters, where); it may refuse
    stands_for: the name of the initialiser that the activation decides
    weight: the parameter that is every weight's value; lsuv: the one that is the tolerance of a rescaling to unit
        variance on the data after the draw; base: the one that is the base width of the maximal update parametrisation
    """

    summary: str
    distribution: Distribution
    sigma_w: Callable[[int, int, Activation, Mapping[str, float]], float] | None
    derive: Callable[[Activation, Mapping[str, float], str], dict[str, float]] | None = None
    stands_for: Callable[[Activation], str] | None = None
    sigma_b: Callable[[int, int, Activation, Mapping[str, float]], float] = lambda *_: 0.0
    weight: str = ""
    lsuv: str = ""
    base: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def he_gain(activation: Activation) -> float:
    """sqrt(2 / (1 + a^2)) for slope a below 0 (He et al. 2015, eq. 15); sqrt(2) where there is none."""
    return sqrt(2 / (1 + activation.he_slope**2))


def _gain(activation: Activation) -> float:
    """The orthogonal scale that keeps the signal, by the same rule as `auto`."""
    return he_gain(activation) if activation.usual_init == "he" else 1.0


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


BIAS: dict[str, Parameter] = {"bias": Parameter(default=0.0, meaning="constant added to every bias")}
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

_ENTRIES: dict[str, Definition] = {
    "auto": Definition(
        summary="glorot for bounded shapes and linear, lecun for selu, he for every other",
        distribution="normal",
        sigma_w=None,
        stands_for=lambda activation: activation.usual_init,
        parameters=BIAS,
    ),
    "torch": Definition(
        summary="nn.Linear's default: weights and biases uniform in +-1/sqrt(fan_in)",
        distribution="uniform",
        sigma_w=lambda *_: 1 / sqrt(3),
        sigma_b=lambda fan_in, *_: 1 / sqrt(3 * fan_in),
        parameters=BIAS,
    ),
    "glorot": Definition(
        summary="normal, variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010)",
        distribution="normal",
        sigma_w=_glorot,
        parameters=GAIN_1,
    ),
    "glorot_uniform": Definition(
        summary="uniform, variance 2 / (fan_in + fan_out)",
        distribution="uniform",
        sigma_w=_glorot,
        parameters=GAIN_1,
    ),
    "he": Definition(
        summary="normal, variance 2 / fan_in, 2 / ((1 + a^2) fan_in) for slope a below 0 (He et al. 2015)",
        distribution="normal",
        sigma_w=_he,
        parameters=GAIN_PHI,
    ),
    "he_uniform": Definition(
        summary="uniform, the variance of he", distribution="uniform", sigma_w=_he, parameters=GAIN_PHI
    ),
    "lecun": Definition(
        summary="normal, variance 1 / fan_in (LeCun et al. 1998)",
        distribution="normal",
        sigma_w=_lecun,
        parameters=GAIN_1,
    ),
    "lecun_uniform": Definition(
        summary="uniform, variance 1 / fan_in", distribution="uniform", sigma_w=_lecun, parameters=GAIN_1
    ),
    "orthogonal": Definition(
        summary="random orthonormal rows or columns times a gain (Saxe et al. 2014)",
        distribution="orthogonal",
        sigma_w=_orthogonal,
        parameters=GAIN_PHI,
    ),
    "gaussian": Definition(
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
    "critical": Definition(
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
    "half_stable": Definition(
        summary="normal, at the point where gelu, silu and their like are critical (Roberts, Yaida & Hanin 2022)",
        distribution="normal",
        sigma_w=_gaussian,
        sigma_b=_sigma_b,
        derive=_half_stable,
        parameters=BIAS,
    ),
    "lsuv": Definition(
        summary="orthogonal, then each layer scaled to unit variance on the data (Mishkin & Matas 2016)",
        distribution="orthogonal",
        sigma_w=_orthogonal,
        lsuv="tolerance",
        parameters={
            "tolerance": Parameter(
                default=0.1, low=0, open_low=True, meaning="largest distance of the variance from 1"
            ),
            "gain": Parameter(default=1.0, low=0, open_low=True, meaning="factor before the scaling"),
            **BIAS,
        },
    ),
    "mup": Definition(
        summary="normal, variance of he or lecun, and rates by layer that let the width grow (Yang & Hu 2021)",
        distribution="normal",
        sigma_w=lambda fan_in, fan_out, phi, parameters: parameters.get("gain", _gain(phi)),
        base="base",
        parameters={
            "base": Parameter(
                default=64,
                low=1,
                integer=True,
                meaning="width at which rates and readout are the usual ones",
            ),
            **GAIN_PHI,
        },
    ),
    "constant": Definition(
        summary="every weight the same number: all units of a layer stay equal",
        distribution="constant",
        sigma_w=None,
        weight="value",
        parameters={"value": Parameter(default=0.01, meaning="the weight"), **BIAS},
    ),
}


INITS = Registry("init", _ENTRIES, own=True)


def get(text: str, activation: Activation, where: str = "init", *, own: bool = False) -> Init:
    """The initialiser written as `text`, bound to the activation its gain depends on.

    own: whether it may be a user's own, which is then imported. Raises ConfigError naming `where` for an unknown name
    or parameter, and for one that cannot be imported or fails.
    """
    item = parse_item(text, where)
    if own and item.attribute is not None:
        return _users(item, where)
    chosen = INITS.choose(item, where)
    rule, definition, values = chosen.name, chosen.entry, chosen.values
    if definition.stands_for is not None:
        rule = definition.stands_for(activation)
        definition = INITS[rule]
        values = bind(values, definition.parameters, rule, where)
    numbers = {key: float(value) for key, value in values.items()}
    if definition.derive is not None:
        numbers |= _derived(activation, definition.derive, tuple(numbers.items()), where)
    sigma_w, sigma_b = definition.sigma_w, definition.sigma_b
    return Init(
        text=chosen.text,
        rule=rule,
        distribution=definition.distribution,
        sigma_w=None if sigma_w is None else lambda i, o: sigma_w(i, o, activation, numbers),
        sigma_b=lambda i, o: sigma_b(i, o, activation, numbers),
        bias=numbers["bias"],
        weight=numbers[definition.weight] if definition.weight else 0.0,
        lsuv=numbers[definition.lsuv] if definition.lsuv else None,
        base=numbers[definition.base] if definition.base else None,
    )


FILLS = "a function that fills a weight in place"


def _users(item: Item, where: str) -> Init:
    """A function that fills a weight in place, as those of torch.nn.init do; tried on a small one."""
    import torch

    from gradlab.base import generators

    own = load_own(item, where, BIAS)
    init = Init(
        text=own.text,
        rule=own.name,
        distribution="own",
        sigma_w=None,
        bias=float(own.settings["bias"]),
        own=own,
    )
    if inspect.isclass(own.attribute):
        raise own.refused("is a class", FILLS)
    with generators.seeded(0, "cpu"):
        for before in (torch.nan, 0.0):
            weight = torch.full((6, 4), before, dtype=torch.float64)
            init.fill(weight)
            if not (weight.isnan().all() if before else (weight == 0).all()):
                return init
    raise own.refused("leaves the weight as it was", FILLS)


_Derivation = Callable[["Activation", Mapping[str, float], str], dict[str, float]]
_derivations: dict[tuple[str, str, _Derivation, tuple[tuple[str, float], ...]], dict[str, float]] = {}


def _derived(
    activation: Activation, derive: _Derivation, numbers: tuple[tuple[str, float], ...], where: str
) -> dict[str, float]:
    """What the activation decides, computed once a process: a critical point costs a tenth of a second."""
    key = (activation.text, activation.source, derive, numbers)
    if key not in _derivations:
        _derivations[key] = derive(activation, dict(numbers), where)
    return _derivations[key]
