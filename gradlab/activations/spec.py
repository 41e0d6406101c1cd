"""What an activation function is, free of torch: phi, phi', where it bends, where it is flat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from gradlab.base.grammar import Parameter, Value

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = NDArray[np.float64]
Family = Literal["logistic", "rectifier", "linear", "other"]
Interval = tuple[float, float]
Pieces = tuple[tuple[Interval, ...], float, float]
Kernel = Callable[["Tensor"], "Tensor"]


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
    negative_slope: phi' far below 0, as He's gain uses it
    kernel:         kernel() loads torch and returns the function of a tensor; None when phi carries parameters or state
    build:          build(replicas, width, seeds) returns the nn.Module for a stack; set where `kernel` is None
    learned:        the activation has a parameter that training changes (recorded as `alpha`)
    source:         the source text of a user's own activation, part of a cell's identity; empty for the registry's
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
    negative_slope: float = 0.0
    kernel: Callable[[], Kernel] | None = None
    build: Callable[[int, int, tuple[int, ...]], nn.Module] | None = None
    learned: bool = False
    source: str = ""

    @property
    def elementwise(self) -> bool:
        return self.phi is not None


Parameters = Mapping[str, Value]
Of = Callable[[Parameters], object]


def _nothing(_: Parameters) -> tuple[()]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One registered activation family; every callable takes the bound parameters last.

    `kernel(torch, parameters)` receives the torch module, so that stating it costs no import.
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
    negative_slope: Callable[[Parameters], float] = lambda _: 0.0
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    learned: bool = False
