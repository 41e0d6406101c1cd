"""Torch's elementwise activation functions: where each is flat, and how steep it gets.

Every activation module of torch calls one of these, so that watching the functions sees modules, functions and
methods alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gradlab import activations
from gradlab.activations.kernels import Kernels, aten, kernels_of
from gradlab.activations.spec import Interval
from gradlab.activations.tanh import tanh
from gradlab.base.errors import ConfigError


@dataclass(frozen=True)
class Shape:
    """flats: closed intervals where phi is constant; slope_sup: sup|phi'|, a number or a tensor that fits z;
    alpha: the learned slope below 0, fitting z; line: phi' is 1 outside the flat parts and needs no differentiation;
    rectifies: phi(z) is max(z, 0), so that its zeros are its flat part; name: as the registry has it, where it does.
    kernels: whose backward pass is the very one that autograd runs for phi; None where that is not known
    """

    flats: Sequence[Interval]
    slope_sup: float | Tensor
    alpha: Tensor | None = None
    line: bool = False
    rectifies: bool = False
    name: str = ""
    kernels: Kernels | None = None


SAME_KERNELS = frozenset(
    {"tanh", "sigmoid", "gelu", "silu", "leaky_relu", "elu", "selu", "softplus", "hard_swish"}
)
"""Registered activations whose pair of kernels is what autograd runs for torch's function of that name."""


@lru_cache(maxsize=64)
def _registered(name: str, line: bool = False, **parameters: float) -> Shape:
    text = ":".join([name, *(f"{key}={value!r}" for key, value in parameters.items())])
    known = activations.get(text)
    assert known.slope_sup is not None
    kernels = kernels_of(known) if name in SAME_KERNELS else None
    return Shape(
        known.flats, known.slope_sup, line=line, rectifies=name == "relu", name=known.text, kernels=kernels
    )


Arguments = Mapping[str, Any]


def _clipped(low: float, high: float) -> Shape:
    flats = [(-inf, low)] * (low > -inf) + [(high, inf)] * (high < inf)
    return Shape(tuple(flats), 1.0, line=True)


def _prelu(a: Arguments) -> Shape:
    weight, z = a["weight"].detach(), a["input"]
    if weight.numel() > 1 and z.dim() > 1:  # one slope a channel, the second axis
        weight = weight.reshape(-1, *[1] * (z.dim() - 2))
    return Shape((), weight.abs().clamp(min=1.0), weight)


def _clamp(a: Arguments) -> Shape | None:
    """A clamp at 0 is how tutorials write ReLU; any other keeps numbers in range and is no activation."""
    low, high = a.get("min"), a.get("max")
    if isinstance(low, Tensor) or isinstance(high, Tensor) or low is None or low != 0:
        return None
    if high is None:
        flats: tuple[Interval, ...] = ((-inf, 0.0),)
    else:
        flats = ((-inf, 0.0), (float(high), inf)) if high > 0 else ((-inf, inf),)
    return Shape(flats, 1.0)  # no `line`: torch passes the gradient at the very edge of a clamp


def _plain(name: str, line: bool = False) -> Callable[[Arguments], Shape]:
    return lambda _: _registered(name, line)


@lru_cache(maxsize=1)
def _gelu_by_tanh() -> Shape:
    kernels = Kernels(
        lambda z, h: aten.gelu.out(z, approximate="tanh", out=h),
        lambda g, z, out: aten.gelu_backward.grad_input(g, z, approximate="tanh", grad_input=out),
    )
    return replace(_registered("gelu"), kernels=kernels)


def _gelu(a: Arguments) -> Shape:
    return _gelu_by_tanh() if a.get("approximate") == "tanh" else _registered("gelu")


def _softplus(a: Arguments) -> Shape:
    shape = _registered("softplus")
    usual = a.get("beta", 1) == 1 and a.get("threshold", 20) == 20
    return shape if usual else replace(shape, kernels=None)


def _of_result(shape: Shape, a: Arguments) -> Shape:
    """Autograd takes the slope of one that works in place from its result, by another formula."""
    return replace(shape, kernels=None) if a.get("inplace") else shape


def _leaky(default: float) -> Callable[[Arguments], Shape]:
    return lambda a: _registered("leaky_relu", negative_slope=float(a.get("negative_slope", default)))


# name -> (names of the arguments after the input, arguments -> Shape)
KINDS: dict[str, tuple[tuple[str, ...], Callable[[Arguments], Shape | None]]] = {
    "relu": ((), _plain("relu", line=True)),
    "relu6": ((), _plain("relu6", line=True)),
    "sigmoid": ((), _plain("sigmoid")),
    "tanh": ((), _plain("tanh")),
    "softsign": ((), _plain("softsign")),
    "erf": ((), _plain("erf")),
    "selu": ((), lambda a: _of_result(_registered("selu"), a)),
    "gelu": (("approximate",), _gelu),
    "silu": ((), _plain("silu")),
    "mish": ((), _plain("mish")),
    "hardsigmoid": ((), _plain("hard_sigmoid_6")),
    "hardswish": ((), _plain("hard_swish")),
    "softplus": (("beta", "threshold"), _softplus),
    "logsigmoid": ((), lambda _: Shape((), 1.0)),
    "tanhshrink": ((), lambda _: Shape((), 1.0)),
    "hardtanh": (
        ("min_val", "max_val"),
        lambda a: _clipped(float(a.get("min_val", -1.0)), float(a.get("max_val", 1.0))),
    ),
    "hardshrink": (("lambd",), lambda a: Shape(((-float(a.get("lambd", 0.5)), float(a.get("lambd", 0.5))),), 1.0)),
    "softshrink": (("lambd",), lambda a: Shape(((-float(a.get("lambd", 0.5)), float(a.get("lambd", 0.5))),), 1.0)),
    "threshold": (("threshold", "value"), lambda a: _clipped(float(a["threshold"]), inf)),
    "leaky_relu": (("negative_slope",), _leaky(0.01)),
    "rrelu": (("lower", "upper", "training"), lambda _: Shape((), 1.0)),
    "elu": (("alpha",), lambda a: _of_result(_registered("elu", alpha=float(a.get("alpha", 1.0))), a)),
    "celu": (("alpha",), lambda a: _registered("celu", alpha=float(a.get("alpha", 1.0)))),
    "prelu": (("weight",), _prelu),
    "clamp": (("min", "max"), _clamp),
    "clamp_min": (("min",), _clamp),
    "clip": (("min", "max"), _clamp),
}  # fmt: skip


WRITTEN = {"hardtanh": "hard_tanh", "clamp": "relu", "clamp_min": "relu", "clip": "relu"}
"""How a kind without a registered Shape is called."""


def _functions() -> dict[Any, str]:
    """Every face of each kind: torch.x, torch.x_, Tensor.x, Tensor.x_, functional.x, functional.x_, gradlab's own."""
    faces: dict[Any, str] = {}
    for kind in KINDS:
        for home in (torch, torch.Tensor, F, torch.special, torch._C._nn):
            for name in (kind, f"{kind}_", f"_{kind}"):
                found = getattr(home, name, None)
                if callable(found):
                    faces[found] = kind
    faces[torch.special.expit] = "sigmoid"
    faces[tanh] = "tanh"
    return faces


FUNCTIONS = _functions()


def shape_of(kind: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Shape | None:
    """The shape of the activation that is being called; None where the call is none after all."""
    names, make = KINDS[kind]
    try:
        shape = make({**dict(zip(("input", *names), args, strict=False)), **kwargs})
        return shape if shape is None or shape.name else replace(shape, name=WRITTEN.get(kind, kind))
    except ConfigError:  # a parameter outside what the registry describes, such as ELU with a negative alpha
        return None
