"""The registered activation functions. To add one, add one entry.

Each entry states phi and phi' in NumPy (float64, any shape), sup|phi'|, the kinks, the flat parts, and the torch
kernel beside them. At a kink phi' is the value torch's backward pass uses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf, sqrt
from types import ModuleType

import numpy as np

from gradlab.activations import shaping
from gradlab.activations.spec import Array, Definition, Interval, Kernel, Parameters
from gradlab.base.grammar import Parameter
from gradlab.base.registry import Registry

SELU_ALPHA = 1.6732632423543772  # Klambauer et al. 2017, eq. 14
SELU_SCALE = 1.0507009873554805
# The maxima of phi' have no closed form for SiLU and Mish; these are the roots of phi'' evaluated to double precision.
SILU_SLOPE_SUP = 1.0998393201288669
MISH_SLOPE_SUP = 1.0884981612517279


def number(parameters: Parameters, key: str) -> float:
    value = parameters[key]
    assert not isinstance(value, str)
    return value


def _flat_below(edge: float) -> tuple[Interval, ...]:
    return ((-inf, edge),)


def _clipped_line(slope: float, cut: float, low: float, high: float, summary: str) -> Definition:
    """A line of the given slope between -cut and cut, flat at `low` and `high` outside."""
    middle = (low + high) / 2

    def kernel(torch: ModuleType, _: Parameters) -> Kernel:
        return lambda z: torch.nn.functional.hardtanh(z, -cut, cut) * slope + middle

    return Definition(
        family="logistic",
        summary=summary,
        phi=lambda z, _: np.clip(slope * z + middle, low, high),
        slope=lambda z, _: np.where(np.abs(z) < cut, slope, 0.0),
        slope_sup=lambda _: slope,
        kernel=kernel,
        kinks=lambda _: (-cut, cut),
        flats=lambda _: ((-inf, -cut), (cut, inf)),
        pieces=lambda _: (((-inf, -cut), (cut, inf)), 0.0, slope),
    )


def _tanh(torch: ModuleType, _: Parameters) -> Kernel:
    from gradlab.activations.tanh import tanh  # which imports torch

    return tanh


def _logistic(z: Array) -> Array:
    """scipy's expit to the last bit or two, without the import."""
    with np.errstate(over="ignore"):  # 1 / inf is the limit, and before it nothing is lost
        result: Array = 1 / (1 + np.exp(-z))
    return result


def _normal_cdf(z: Array) -> Array:
    """The standard normal distribution function."""
    from scipy.special import ndtr  # a tenth of a second, which most runs can do without

    result: Array = ndtr(z)
    return result


def _erf(z: Array) -> Array:
    from scipy.special import erf

    result: Array = erf(z)
    return result


def _sigmoid_slope(z: Array, _: Parameters) -> Array:
    return _logistic(z) * _logistic(-z)


def _gelu_slope(z: Array, _: Parameters) -> Array:
    return _normal_cdf(z) + z * np.exp(-0.5 * z * z) / sqrt(2 * np.pi)


def _silu_slope(z: Array, _: Parameters) -> Array:
    return _logistic(z) * (1 + z * _logistic(-z))


def _softplus(z: Array, _: Parameters) -> Array:
    return np.logaddexp(0.0, z)


def _mish(z: Array, parameters: Parameters) -> Array:
    return z * np.tanh(_softplus(z, parameters))


def _mish_slope(z: Array, parameters: Parameters) -> Array:
    tanh: Array = np.tanh(_softplus(z, parameters))
    result: Array = tanh + z * (1 - tanh * tanh) * _logistic(z)
    return result


def _exponential_below(z: Array, alpha: float, scale: float = 1.0) -> Array:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0) / scale))


def _leaky(z: Array, slope: float) -> Array:
    return np.where(z > 0, z, slope * z)


def _softmax(torch: ModuleType, _: Parameters) -> Kernel:
    return lambda z: torch.softmax(z, dim=-1)


ALPHA = {"alpha": Parameter(default=1.0, low=0, open_low=True, meaning="minus the limit far below 0")}

_ENTRIES: dict[str, Definition] = {
    "linear": Definition(
        family="linear",
        summary="z itself: no activation",
        phi=lambda z, _: np.array(z, dtype=np.float64),
        slope=lambda z, _: np.ones_like(z),
        slope_sup=lambda _: 1.0,
        kernel=lambda torch, _: lambda z: z,
        pieces=lambda _: ((), 0.0, 1.0),
    ),
    "sigmoid": Definition(
        family="logistic",
        summary="1 / (1 + exp(-z)), in (0, 1), slope at most 1/4",
        phi=lambda z, _: _logistic(z),
        slope=_sigmoid_slope,
        slope_sup=lambda _: 0.25,
        kernel=lambda torch, _: torch.sigmoid,
    ),
    "hard_sigmoid": _clipped_line(0.2, 2.5, 0.0, 1.0, "0.2 z + 0.5 cut to [0, 1]: flat beyond +-2.5"),
    "hard_sigmoid_6": _clipped_line(1 / 6, 3.0, 0.0, 1.0, "z / 6 + 0.5 cut to [0, 1]: flat beyond +-3"),
    "softmax": Definition(
        family="logistic",
        summary="exp(z) over the sum of a layer's exp(z): not elementwise, so it has no slope columns",
        phi=None,
        slope=None,
        slope_sup=None,
        kernel=_softmax,
    ),
    "tanh": Definition(
        family="logistic",
        summary="hyperbolic tangent, in (-1, 1), slope 1 at 0",
        phi=lambda z, _: np.tanh(z),
        slope=lambda z, _: 4 * _logistic(2 * z) * _logistic(-2 * z),
        slope_sup=lambda _: 1.0,
        kernel=_tanh,
    ),
    "hard_tanh": Definition(
        family="logistic",
        summary="z cut to [-1, 1]",
        phi=lambda z, _: np.clip(z, -1.0, 1.0),
        slope=lambda z, _: np.where(np.abs(z) < 1, 1.0, 0.0),
        slope_sup=lambda _: 1.0,
        kernel=lambda torch, _: torch.nn.functional.hardtanh,
        kinks=lambda _: (-1.0, 1.0),
        flats=lambda _: ((-inf, -1.0), (1.0, inf)),
        pieces=lambda _: (((-inf, -1.0), (1.0, inf)), 0.0, 1.0),
    ),
    "softsign": Definition(
        family="logistic",
        summary="z / (1 + |z|), in (-1, 1)",
        phi=lambda z, _: z / (1 + np.abs(z)),
        slope=lambda z, _: 1 / (1 + np.abs(z)) ** 2,
        slope_sup=lambda _: 1.0,
        kernel=lambda torch, _: torch.nn.functional.softsign,
        kinks=lambda _: (0.0,),
    ),
    "erf": Definition(
        family="logistic",
        summary="the error function, in (-1, 1)",
        phi=lambda z, _: _erf(z),
        slope=lambda z, _: 2 / sqrt(np.pi) * np.exp(-z * z),
        slope_sup=lambda _: 2 / sqrt(np.pi),
        kernel=lambda torch, _: torch.erf,
    ),
    "relu": Definition(
        family="rectifier",
        summary="max(z, 0)",
        phi=lambda z, _: np.maximum(z, 0.0),
        slope=lambda z, _: np.where(z > 0, 1.0, 0.0),
        slope_sup=lambda _: 1.0,
        kernel=lambda torch, _: torch.relu,
        kinks=lambda _: (0.0,),
        flats=lambda _: _flat_below(0.0),
        pieces=lambda _: (_flat_below(0.0), 0.0, 1.0),
    ),
    "relu6": Definition(
        family="rectifier",
        summary="z cut to [0, 6]",
        phi=lambda z, _: np.clip(z, 0.0, 6.0),
        slope=lambda z, _: np.where((z > 0) & (z < 6), 1.0, 0.0),
        slope_sup=lambda _: 1.0,
        kernel=lambda torch, _: torch.nn.functional.relu6,
        kinks=lambda _: (0.0, 6.0),
        flats=lambda _: ((-inf, 0.0), (6.0, inf)),
        pieces=lambda _: (((-inf, 0.0), (6.0, inf)), 0.0, 1.0),
    ),
    "leaky_relu": Definition(
        family="rectifier",
        summary="z above 0, negative_slope * z below",
        phi=lambda z, p: _leaky(z, number(p, "negative_slope")),
        slope=lambda z, p: np.where(z > 0, 1.0, number(p, "negative_slope")),
        slope_sup=lambda p: max(1.0, abs(number(p, "negative_slope"))),
        he_slope=lambda p: number(p, "negative_slope"),
        kernel=lambda torch, p: lambda z: torch.nn.functional.leaky_relu(z, number(p, "negative_slope")),
        kinks=lambda _: (0.0,),
        flats=lambda p: _flat_below(0.0) if p["negative_slope"] == 0 else (),
        pieces=lambda p: (_flat_below(0.0), number(p, "negative_slope"), 1.0),
        parameters={"negative_slope": Parameter(default=0.01, meaning="phi' below 0")},
    ),
    "prelu": Definition(
        family="rectifier",
        summary="leaky ReLU whose slope below 0 is learned (He et al. 2015): one a layer, or per=unit",
        phi=lambda z, p: _leaky(z, number(p, "init")),
        slope=lambda z, p: np.where(z > 0, 1.0, number(p, "init")),
        slope_sup=lambda p: max(1.0, abs(number(p, "init"))),
        he_slope=lambda p: number(p, "init"),
        kernel=None,
        kinks=lambda _: (0.0,),
        flats=lambda p: _flat_below(0.0) if p["init"] == 0 else (),
        pieces=lambda p: (_flat_below(0.0), number(p, "init"), 1.0),
        parameters={
            "init": Parameter(default=0.25, meaning="the slope below 0 before training"),
            "per": Parameter(default="layer", choices=("layer", "unit"), meaning="what shares one slope"),
        },
        learned=True,
    ),
    "thresholded_relu": Definition(
        family="rectifier",
        summary="z above theta, 0 below: it jumps at theta",
        phi=lambda z, p: np.where(z > number(p, "theta"), z, 0.0),
        slope=lambda z, p: np.where(z > number(p, "theta"), 1.0, 0.0),
        slope_sup=lambda _: 1.0,
        kernel=lambda torch, p: lambda z: torch.nn.functional.threshold(z, number(p, "theta"), 0.0),
        kinks=lambda p: (number(p, "theta"),),
        flats=lambda p: _flat_below(number(p, "theta")),
        pieces=lambda p: (_flat_below(number(p, "theta")), 0.0, 1.0),
        parameters={"theta": Parameter(default=1.0, low=0, meaning="the threshold")},
    ),
    "elu": Definition(
        family="rectifier",
        summary="z above 0, alpha (exp(z) - 1) below",
        phi=lambda z, p: _exponential_below(z, number(p, "alpha")),
        slope=lambda z, p: np.where(z > 0, 1.0, number(p, "alpha") * np.exp(np.minimum(z, 0))),
        slope_sup=lambda p: max(1.0, number(p, "alpha")),
        kernel=lambda torch, p: lambda z: torch.nn.functional.elu(z, number(p, "alpha")),
        kinks=lambda _: (0.0,),
        parameters=ALPHA,
    ),
    "celu": Definition(
        family="rectifier",
        summary="z above 0, alpha (exp(z / alpha) - 1) below",
        phi=lambda z, p: _exponential_below(z, number(p, "alpha"), number(p, "alpha")),
        slope=lambda z, p: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0) / number(p, "alpha"))),
        slope_sup=lambda _: 1.0,
        # torch's own celu rounds 1 / alpha to float32, whatever the dtype
        kernel=lambda torch, p: (
            lambda z: number(p, "alpha") * torch.nn.functional.elu(z / number(p, "alpha"))
        ),
        kinks=lambda _: (0.0,),
        parameters=ALPHA,
    ),
    "selu": Definition(
        family="rectifier",
        summary="the ELU scaled so that mean 0 and variance 1 are a fixed point (Klambauer et al. 2017)",
        usual_init="lecun",
        phi=lambda z, _: SELU_SCALE * _exponential_below(z, SELU_ALPHA),
        slope=lambda z, _: SELU_SCALE * np.where(z > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(z, 0))),
        slope_sup=lambda _: SELU_SCALE * SELU_ALPHA,
        kernel=lambda torch, _: torch.nn.functional.selu,
        kinks=lambda _: (0.0,),
    ),
    "softplus": Definition(
        family="rectifier",
        summary="log(1 + exp(z)): a smooth ReLU that is never 0",
        phi=_softplus,
        slope=lambda z, _: _logistic(z),
        slope_sup=lambda _: 1.0,
        kernel=lambda torch, _: torch.nn.functional.softplus,
    ),
    "gelu": Definition(
        family="rectifier",
        summary="z times the normal distribution function of z (exact, by erf)",
        phi=lambda z, _: z * _normal_cdf(z),
        slope=_gelu_slope,
        slope_sup=lambda _: float(_gelu_slope(np.array(sqrt(2)), {})),
        kernel=lambda torch, _: torch.nn.functional.gelu,
    ),
    "silu": Definition(
        family="rectifier",
        summary="z times sigmoid(z), also called swish",
        phi=lambda z, _: z * _logistic(z),
        slope=_silu_slope,
        slope_sup=lambda _: SILU_SLOPE_SUP,
        kernel=lambda torch, _: torch.nn.functional.silu,
    ),
    "mish": Definition(
        family="rectifier",
        summary="z times tanh(softplus(z))",
        phi=_mish,
        slope=_mish_slope,
        slope_sup=lambda _: MISH_SLOPE_SUP,
        kernel=lambda torch, _: torch.nn.functional.mish,
    ),
    "hard_swish": Definition(
        family="rectifier",
        summary="z times (z + 3) / 6 cut to [0, 1]",
        phi=lambda z, _: z * np.clip(z + 3, 0, 6) / 6,
        slope=lambda z, _: np.where(z <= -3, 0.0, np.where(z < 3, (2 * z + 3) / 6, 1.0)),
        slope_sup=lambda _: 1.5,
        kernel=lambda torch, _: torch.nn.functional.hardswish,
        kinks=lambda _: (-3.0, 3.0),
        flats=lambda _: _flat_below(-3.0),
    ),
}


def _kernel_of(name: str, negative_slope: float = 0.0) -> shaping.Kernel:
    """What the shaping of a registered activation needs."""
    entry, parameters = _ENTRIES[name], {"negative_slope": negative_slope}
    phi, slope = entry.phi, entry.slope
    assert phi is not None and slope is not None
    return shaping.Kernel(
        lambda z: phi(z, parameters), lambda z: slope(z, parameters), bool(entry.kinks(parameters))
    )


@lru_cache(maxsize=64)
def dks(name: str, slope: float) -> shaping.Shaped:
    """Deep Kernel Shaping of a registered activation, C'(1) = slope at each layer."""
    if name == "relu":
        return shaping.dks_relu(_kernel_of(name), slope)
    if name == "leaky_relu":
        return shaping.dks_leaky(lambda negative: _kernel_of(name, negative), slope)
    return shaping.dks(_kernel_of(name), slope)


@lru_cache(maxsize=64)
def tat(name: str, curve: float) -> shaping.Shaped:
    """The tailored transformation of a smooth registered activation, C''(1) = curve at each layer."""
    return shaping.tat(_kernel_of(name), curve)


def _dks_of(p: Parameters) -> shaping.Shaped:
    return dks(str(p["phi"]), number(p, "zeta") ** (1 / number(p, "depth")))


def _tat_of(p: Parameters) -> shaping.Shaped:
    depth = number(p, "depth")
    if p["phi"] == "leaky_relu":
        return shaping.tat_leaky(shaping.slope_of_depth(int(depth), number(p, "eta")))
    return tat(str(p["phi"]), number(p, "tau") / depth)


def _shaped(
    of: Callable[[Parameters], shaping.Shaped], summary: str, parameters: dict[str, Parameter]
) -> Definition:
    """output_scale (phi(input_scale z + input_shift) + output_shift), each number solved for by `of`."""

    def inner(p: Parameters) -> tuple[shaping.Shaped, Definition, Parameters]:
        at = of(p)
        return at, _ENTRIES[str(p["phi"])], {"alpha": 1.0, "negative_slope": at.negative_slope}

    def phi(z: Array, p: Parameters) -> Array:
        at, entry, own = inner(p)
        assert entry.phi is not None
        return at.output_scale * (entry.phi(at.input_scale * z + at.input_shift, own) + at.output_shift)

    def slope(z: Array, p: Parameters) -> Array:
        at, entry, own = inner(p)
        assert entry.slope is not None
        return at.output_scale * at.input_scale * entry.slope(at.input_scale * z + at.input_shift, own)

    def slope_sup(p: Parameters) -> float:
        at, entry, own = inner(p)
        assert entry.slope_sup is not None
        return at.output_scale * at.input_scale * entry.slope_sup(own)

    def kernel(torch: ModuleType, p: Parameters) -> Kernel:
        at, entry, own = inner(p)
        assert entry.kernel is not None
        base = entry.kernel(torch, own)
        return lambda z: at.output_scale * (base(at.input_scale * z + at.input_shift) + at.output_shift)

    def before(points: tuple[float, ...], at: shaping.Shaped) -> tuple[float, ...]:
        return tuple((point - at.input_shift) / at.input_scale for point in points)

    def kinks(p: Parameters) -> tuple[float, ...]:
        at, entry, own = inner(p)
        return before(entry.kinks(own), at)

    def flats(p: Parameters) -> tuple[Interval, ...]:
        at, entry, own = inner(p)
        return tuple((low, high) for low, high in (before(each, at) for each in entry.flats(own)))

    return Definition(
        family="other",
        summary=summary,
        usual_init="lecun",
        short="phi",
        phi=phi,
        slope=slope,
        slope_sup=slope_sup,
        kernel=kernel,
        kinks=kinks,
        flats=flats,
        parameters=parameters,
    )


DEPTH = {
    "depth": Parameter(
        default=20, low=1, high=10_000, integer=True, meaning="hidden layers of the net that it is made for"
    )
}
SMOOTH = ("tanh", "softplus", "gelu", "silu", "erf")

_ENTRIES |= {
    "dks": _shaped(
        _dks_of,
        "phi shifted and scaled to keep inputs apart through `depth` layers (Martens et al. 2021): dks:relu",
        {
            "phi": Parameter(
                default="tanh",
                choices=("relu", "leaky_relu", *SMOOTH),
                meaning="what is shaped; dks:NAME is short",
            ),
            **DEPTH,
            "zeta": Parameter(
                default=1.5,
                low=1,
                open_low=True,
                high=100,
                meaning="slope at 1 of the net's map of correlations",
            ),
        },
    ),
    "tat": _shaped(
        _tat_of,
        "phi tailored to `depth` layers (Zhang et al. 2022): tat:leaky_relu by eta, smooth ones by tau",
        {
            "phi": Parameter(
                default="leaky_relu",
                choices=("leaky_relu", *SMOOTH),
                meaning="what is tailored; tat:NAME is short",
            ),
            **DEPTH,
            "eta": Parameter(
                default=0.9,
                low=0,
                open_low=True,
                high=0.999,
                meaning="leaky_relu: what the net makes of correlation 0",
            ),
            "tau": Parameter(
                default=0.3,
                low=0,
                open_low=True,
                high=10,
                meaning="smooth phi: curvature at 1 of the net's map",
            ),
        },
    ),
}

REGISTRY = Registry("activation", _ENTRIES, own=True)
