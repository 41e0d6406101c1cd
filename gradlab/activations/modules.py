"""Activations as modules of a stack: [replica, batch, unit] in, the same shape out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradlab.activations.spec import Activation, Kernel
from gradlab.base.own import Own


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

    def __init__(self, instances: Sequence[nn.Module], call: UsersCall) -> None:
        super().__init__()
        self.instances = nn.ModuleList(instances)
        self._call = call

    @property
    def text(self) -> str:
        """What the user named."""
        return self._call.own.text

    def forward(self, z: Tensor) -> Tensor:
        pairs = zip(self.instances, z, strict=True)
        return torch.stack([self._call(instance, part) for instance, part in pairs])


@dataclass(frozen=True)
class UsersCall:
    """How a user's function or module from a tensor to one of the same shape is called: what it does wrong is an error
    that names it.

    spare: it writes into its argument, which may be the residual stream as well, so it gets a copy
    """

    own: Own
    spare: bool = False

    def __call__(self, function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        with self.own.running():
            image = function(z.clone() if self.spare else z)
        if not isinstance(image, Tensor) or image.shape != z.shape:
            made = [*image.shape] if isinstance(image, Tensor) else type(image).__name__
            raise self.own.refused(
                f"does not map a tensor to one of the same shape: it made {made} of {[*z.shape]}",
                "one output for each number",
            )
        if image.layout != torch.strided or image.device != z.device:
            kind = f"a {str(image.layout).removeprefix('torch.')} tensor on {image.device}"
            raise self.own.refused(f"makes {kind}", f"a dense tensor on {z.device}, as it was given")
        if image.dtype != z.dtype:
            raise self.own.refused(f"makes {image.dtype} of {z.dtype}", "a tensor of the same number format")
        return image


def try_call(own: Own, function: Callable[[Tensor], Tensor], sample: Tensor) -> tuple[UsersCall, Tensor]:
    """How to call a user's function, and what it makes of a sample. Raises ConfigError where it fails."""
    given = sample.clone()
    with torch.no_grad():
        image = UsersCall(own)(function, given)
    return UsersCall(own, spare=not torch.equal(given, sample)), image


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
