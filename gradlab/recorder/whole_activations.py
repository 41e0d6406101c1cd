"""Modules that are an activation as a whole: written by hand, elementwise, without parameters.

GELU's tanh form, x sigmoid(1.702 x) or the square of a ReLU call torch's functions inside, none of which is the
activation. Such a module is found by trying it out on a copy: its outputs move along when its inputs are permuted.
"""

from __future__ import annotations

import copy
from math import inf
from weakref import WeakKeyDictionary

import torch
from torch import nn

from gradlab.activations.modules import slope_of
from gradlab.activations.spec import Interval
from gradlab.base import generators
from gradlab.recorder.torch_activations import Shape

REACH, POINTS = 16.0, 1025
"""Where phi and its slope are looked at: steps of 1/32 that contain 0."""
FLAT_WITHIN = 6.0
"""A slope of exactly 0 that begins further out is rounding: float64's tanh form of GELU rounds to 0 from about -7."""


class WholeShapes:
    """The shape of each module of a model that is an activation as a whole; each is tried once."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[nn.Module, Shape | None] = WeakKeyDictionary()

    def of(self, module: nn.Module) -> Shape | None:
        """None for torch's own modules, whose functions are known, and for all that is no activation."""
        if module not in self._known:
            own = not type(module).__module__.startswith(("torch.", "gradlab."))
            leaf = not any(True for _ in module.children()) and not any(True for _ in module.parameters())
            self._known[module] = _tried(module) if own and leaf else None
        return self._known[module]


def _tried(module: nn.Module) -> Shape | None:
    grid = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    order = torch.arange(POINTS).flip(0)
    try:
        with torch._C.DisableTorchFunction(), generators.kept("cpu"), torch.no_grad():
            tried = copy.deepcopy(module).eval()
            h = tried.forward(grid.clone())
            again = tried.forward(grid[order].clone())
            alone = tried.forward(grid[: POINTS // 2].clone())
            if not isinstance(h, torch.Tensor) or h.shape != grid.shape or torch.equal(h, grid):
                return None
            if not (torch.allclose(again, h[order]) and torch.allclose(alone, h[: POINTS // 2])):
                return None
            slope = slope_of(tried.forward, grid.clone())
    except Exception:  # what does not take a vector of numbers is no activation
        return None
    if torch.allclose(slope, slope[:1].expand_as(slope)):  # a scale is no activation
        return None
    steepest = float(slope[slope.isfinite()].abs().max()) if slope.isfinite().any() else 0.0
    # One that gets ever steeper, such as a squared ReLU, is measured against its slope at 1.
    grows = steepest > 4 and float(slope.abs().max()) in (float(slope[0].abs()), float(slope[-1].abs()))
    if grows:
        steepest = float(slope[(grid.abs() == 1.0)].abs().max())
    return Shape(_flats(grid, slope), steepest or 1.0, name=type(module).__name__)


def _flats(grid: torch.Tensor, slope: torch.Tensor) -> tuple[Interval, ...]:
    """The flat parts at the two ends, where the slope is exactly 0 from near 0 on."""
    zero = (slope == 0).tolist()
    flats: list[Interval] = []
    if all(zero):
        return ((-inf, inf),)
    low = zero.index(False)
    if low and grid[low - 1] >= -FLAT_WITHIN:
        flats.append((-inf, float(grid[low - 1])))
    high = len(zero) - zero[::-1].index(False)
    if high < len(zero) and grid[high] <= FLAT_WITHIN:
        flats.append((float(grid[high]), inf))
    return tuple(flats)
