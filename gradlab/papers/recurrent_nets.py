"""Recurrent layers with the same weights in every step: what passes through time, forward and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab import activations
from gradlab.activations.modules import build_module, slope_of


@dataclass(frozen=True)
class ThroughTime:
    """h_t = phi(z_t), z_t = h_(t-1) W + x_t from h_0 = 0; lists over the steps of [net, row, unit].

    weight: [net, unit, unit]; slope: phi'(z_t)
    """

    weight: Tensor
    h: Sequence[Tensor]
    z: Sequence[Tensor]
    slope: Sequence[Tensor]

    def back(self, delta: Tensor, steps: int) -> Tensor:
        """A gradient with respect to the last h, [net, row, unit], carried back that many steps."""
        for slope in reversed(self.slope[len(self.slope) - steps :]):
            delta = (delta * slope) @ self.weight.mT
        return delta

    def jacobian(self, steps: int) -> Tensor:
        """d (the last h) / d (h that many steps before), [net, unit of the last, unit]; for one row."""
        units = self.weight.shape[-1]
        return self.back(torch.eye(units, dtype=self.weight.dtype).expand(len(self.weight), -1, -1), steps)


def through_time(activation: str, weight: Tensor, inputs: Sequence[Tensor]) -> ThroughTime:
    """A recurrent layer for every net of the stack; inputs: of each step what is added to z, [net, row, unit]."""
    nets, units = weight.shape[:2]
    phi = build_module(activations.get(activation), nets, units, tuple(range(nets)))
    h: Tensor = torch.zeros_like(inputs[0])
    hs, zs, slopes = [], [], []
    for x in inputs:
        z = h @ weight + x
        with torch.no_grad():
            h = phi(z)
        hs.append(h)
        zs.append(z)
        slopes.append(slope_of(phi.forward, z))
    return ThroughTime(weight, hs, zs, slopes)
