"""Normalisation of a hidden layer, for every replica of a stack: `--norm none|batch|layer|rms`.

`NORMS` is free of torch; `build` loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradlab.base.errors import ConfigError, Problem, nearest
from gradlab.base.grammar import Parameter, bind, parse_item, write_item

if TYPE_CHECKING:
    from torch import nn

POSITION = Parameter(default="pre", choices=("pre", "post"), meaning="before or after the activation")


def _eps(default: float) -> Parameter:
    return Parameter(default=default, low=0, open_low=True, meaning="added to the variance")


NORMS: dict[str, tuple[str, dict[str, Parameter]]] = {
    "none": ("no normalisation", {}),
    "batch": (
        "each unit over the batch, running statistics in eval mode (Ioffe & Szegedy 2015)",
        {
            "position": POSITION,
            "eps": _eps(1e-5),
            "momentum": Parameter(default=0.1, low=0, high=1, meaning="weight of a new batch's statistics"),
        },
    ),
    "layer": (
        "each sample over the units, mean and variance (Ba, Kiros & Hinton 2016)",
        {"position": POSITION, "eps": _eps(1e-5)},
    ),
    "rms": (
        "each sample over the units, root mean square alone (Zhang & Sennrich 2019)",
        {"position": POSITION, "eps": _eps(1e-5)},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A normalisation with its parameters; `position` is "pre" (before phi) or "post"."""

    text: str
    name: str
    position: str = "pre"
    eps: float = 1e-5
    momentum: float = 0.1


def get(text: str, where: str = "norm") -> Norm:
    """The normalisation written as `text`. Raises ConfigError naming `where`."""
    item = parse_item(text, where)
    if item.name not in NORMS or item.attribute is not None:
        raise ConfigError(
            Problem(where, f"unknown norm {item.name!r}", ", ".join(NORMS), nearest(item.name, list(NORMS)))
        )
    _, parameters = NORMS[item.name]
    values = bind(item.given, parameters, item.name, where)
    return Norm(
        text=write_item(item.name, values, parameters),
        name=item.name,
        position=str(values.get("position", "pre")),
        eps=float(values.get("eps", 1e-5)),
        momentum=float(values.get("momentum", 0.1)),
    )


def build(norm: Norm, replicas: int, width: int) -> nn.Module:
    """The module for a stack: [replica, batch, unit] in and out, a learned scale and shift for each unit."""
    from gradlab.nn import norm_modules

    if norm.name == "batch":
        return norm_modules.BatchNorm(replicas, width, norm.eps, norm.momentum)
    if norm.name == "layer":
        return norm_modules.LayerNorm(replicas, width, norm.eps)
    assert norm.name == "rms"
    return norm_modules.RMSNorm(replicas, width, norm.eps)
