"""Activations as modules of a stack: [replica, batch, unit] in, the same shape out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradlab.activations.spec import Activation, Kernel


class Elementwise(nn.Module):
    """A function of a tensor without parameters or state, applied to the whole stack at once."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, z: Tensor) -> Tensor:
        return self.kernel(z)


class StackedPReLU(nn.Module):
    """Leaky ReLU with a learned slope below 0 (He et al. 2015), for every replica of a stack.

    alpha: [replica, 1, slopes], slopes 1 (one a layer) or the layer's width (one a unit)
    """

    def __init__(self, replicas: int, slopes: int, init: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((replicas, 1, slopes), init, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return torch.where(z > 0, z, self.alpha * z)


class PerReplica(nn.Module):
    """One instance of a user's module for each replica, called on [batch, unit] as its author expects."""

    def __init__(self, instances: Sequence[nn.Module]) -> None:
        super().__init__()
        self.instances = nn.ModuleList(instances)

    def forward(self, z: Tensor) -> Tensor:
        return torch.stack([instance(part) for instance, part in zip(self.instances, z, strict=True)])


def build_module(activation: Activation, replicas: int, width: int, seeds: tuple[int, ...]) -> nn.Module:
    """The module that computes phi for a stack of `replicas` layers of `width` units.

    seeds: one a replica; they seed the initial parameters of a user's own module, and nothing else.
    """
    if activation.build is not None:
        return activation.build(replicas, width, seeds)
    assert activation.kernel is not None
    return Elementwise(activation.kernel())


def slope_of(phi: Kernel, z: Tensor) -> Tensor:
    """phi'(z) of an elementwise activation, by its own backward pass: the slope that training sees.

    phi: of a module its `forward`, which runs no hooks
    z:   any shape that phi takes, detached or not; the result has its shape and no graph
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_(True)
        # the copy lets phi work in place
        # an identity's gradient is one number for all entries, which nobody could write to
        return torch.autograd.grad(phi(z.clone()).sum(), z)[0].contiguous()
