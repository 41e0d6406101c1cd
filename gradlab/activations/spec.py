"""What an activation function is, free of torch: phi, phi', where it bends, where it is flat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from gradlab.base.grammar import Parameter, Value
from gradlab.base.own import Own

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = NDArray[np.float64]
Family = Literal["logistic", "rectifier", "linear", "other"]
Interval = tuple[float, float]
Pieces = tuple[tuple[Interval, ...], float, float]
Kernel = Callable[["Tensor"], "Tensor"]

USUAL_INIT: Mapping[Family, str] = {
    "logistic": "glorot",
    "linear": "glorot",
    "rectifier": "he",
    "other": "he",
}
"""What the initialiser `auto` takes for an activation that does not say otherwise."""


@dataclass(frozen=True, kw_only=True)
class Activation:
    """One activation function with its parameters bound.

    text:           how it is written, canonically: `leaky_relu:negative_slope=0.2`
    family:         "logistic" (bounded, S-shaped), "rectifier" (slope near 0 below, near 1 above), "linear", "other"
    phi, slope:     phi(z) and phi'(z) on float64 arrays of any shape; None when phi is not elementwise (softmax).
                    At a kink, `slope` is the derivative torch uses
    slope_sup:      sup over z of |phi'(z)|; None when not elementwise
    kinks:          the points where phi or one of its derivatives jumps, ascending: quadrature must split there
    kinks_known:    False for a user's own activation, whose kinks nobody declared
    flats:          closed intervals on which phi is constant, so that a unit inside passes no gradient at all
    pieces:         where phi' takes two values alone: the closed intervals of the first, the first, the second (for
                    PReLU as it starts); None where it takes others
    usual_init:     the initialiser that `auto` takes for it
    he_slope:       the slope below 0 that He's gain reckons with
    kernel:         kernel() loads torch and returns the function of a tensor; None when phi carries parameters or state
    build:          build(replicas, width, seeds) returns the nn.Module for a stack; set where `kernel` is None
    learned:        the activation has a parameter that training changes (recorded as `alpha`)
    own:            what the user named; None for the registry's
    """

    text: str
    name: str
    family: Family
    summary: str
    parameters: Mapping[str, Value]
    phi: Callable[[Array], Array] | None
    slope: Callable[[Array], Array] | None
    slope_sup: float | None
    kinks: tuple[float, ...] = ()
    kinks_known: bool = True
    flats: tuple[Interval, ...] = ()
    pieces: Pieces | None = None
    usual_init: str = "he"
    he_slope: float = 0.0
    kernel: Callable[[], Kernel] | None = None
    build: Callable[[int, int, tuple[int, ...]], nn.Module] | None = None
    learned: bool = False
    own: Own | None = None

    @property
    def elementwise(self) -> bool:
        return self.phi is not None

    @property
    def source(self) -> str:
        """The source text of a user's own activation; empty for the registry's."""
        return self.own.source if self.own else ""


Parameters = Mapping[str, Value]
Of = Callable[[Parameters], object]


def _nothing(_: Parameters) -> tuple[()]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One registered activation; every callable takes the bound parameters last.

    `kernel(torch, parameters)` receives the torch module, so that stating it costs no import. `usual_init` is that of
    the family unless it is given. `short` is the parameter whose value may stand alone behind the name: `dks:relu`.
    """

    family: Family
    summary: str
    phi: Callable[[Array, Parameters], Array] | None
    slope: Callable[[Array, Parameters], Array] | None
    slope_sup: Callable[[Parameters], float] | None
    kernel: Callable[[ModuleType, Parameters], Kernel] | None
    kinks: Callable[[Parameters], tuple[float, ...]] = _nothing
    flats: Callable[[Parameters], tuple[Interval, ...]] = _nothing
    pieces: Callable[[Parameters], Pieces | None] = lambda _: None
    usual_init: str = ""
    he_slope: Callable[[Parameters], float] = lambda _: 0.0
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    learned: bool = False
    short: str = ""

    @property
    def listed(self) -> Mapping[str, str]:
        return {"family": self.family}
