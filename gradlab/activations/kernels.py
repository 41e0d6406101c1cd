"""The registered activations as pairs of kernels that write into buffers: phi, and its backward pass.

They are the kernels that autograd runs for the same activation, on the same operands, so the numbers are the same to
the last bit (a test compares every pair with autograd). Activations without a pair go through autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlab.activations.registry import SELU_ALPHA, SELU_SCALE, number
from gradlab.activations.spec import Activation
from gradlab.activations.tanh import tanh_into
from gradlab.base.grammar import Value

aten = torch.ops.aten


@dataclass(frozen=True)
class Kernels:
    """phi and its backward pass on tensors of one shape.

    forward(z, h):               write phi(z) into h; where `of_output`, h may be z itself
    backward(gradient, kept, out): write gradient * phi'(z) into out, which may be `gradient` itself
    of_output: backward takes h as `kept`, so z need not be; otherwise it takes z
    """

    forward: Callable[[Tensor, Tensor], object]
    backward: Callable[[Tensor, Tensor, Tensor], object]
    of_output: bool = False


def kernels_of(activation: Activation) -> Kernels | None:
    """The pair of a registered activation with its parameters bound; None where there is none."""
    make = None if activation.source else PAIRS.get(activation.name)
    return None if make is None else make(activation.parameters)


def _clipped(low: float, high: float) -> Kernels:
    return Kernels(
        lambda z, h: aten.hardtanh.out(z, low, high, out=h),
        lambda g, z, out: aten.hardtanh_backward.grad_input(g, z, low, high, grad_input=out),
    )


def _clipped_line(slope: float, cut: float) -> Kernels:
    def forward(z: Tensor, h: Tensor) -> None:
        aten.hardtanh.out(z, -cut, cut, out=h)
        h.mul_(slope).add_(0.5)

    def backward(gradient: Tensor, z: Tensor, out: Tensor) -> None:
        torch.mul(gradient, slope, out=out)
        aten.hardtanh_backward.grad_input(out, z, -cut, cut, grad_input=out)

    return Kernels(forward, backward)


def _elu(alpha: float, scale: float) -> Kernels:
    return Kernels(
        lambda z, h: aten.elu.out(z, alpha, scale, 1.0, out=h),
        lambda g, z, out: aten.elu_backward.grad_input(g, alpha, scale, 1.0, False, z, grad_input=out),
    )


def _leaky(slope: float) -> Kernels:
    return Kernels(
        lambda z, h: aten.leaky_relu.out(z, slope, out=h),
        lambda g, z, out: aten.leaky_relu_backward.grad_input(g, z, slope, False, grad_input=out),
    )


def _threshold(theta: float) -> Kernels:
    return Kernels(
        lambda z, h: aten.threshold.out(z, theta, 0.0, out=h),
        lambda g, z, out: aten.threshold_backward.grad_input(g, z, theta, grad_input=out),
    )


def _copied(x: Tensor, out: Tensor) -> None:
    if out is not x:
        out.copy_(x)


PAIRS: Mapping[str, Callable[[Mapping[str, Value]], Kernels]] = {
    "linear": lambda _: Kernels(_copied, lambda g, h, out: _copied(g, out), of_output=True),
    "hard_sigmoid": lambda _: _clipped_line(0.2, 2.5),
    "hard_sigmoid_6": lambda _: _clipped_line(1 / 6, 3.0),
    "sigmoid": lambda _: Kernels(
        lambda z, h: torch.sigmoid(z, out=h),
        lambda g, h, out: aten.sigmoid_backward.grad_input(g, h, grad_input=out),
        of_output=True,
    ),
    "tanh": lambda _: Kernels(
        tanh_into,
        lambda g, h, out: aten.tanh_backward.grad_input(g, h, grad_input=out),
        of_output=True,
    ),
    "relu": lambda _: Kernels(
        # what relu calls; its own form with `out` copies the result
        lambda z, h: torch.clamp_min(z, 0, out=h),
        lambda g, h, out: aten.threshold_backward.grad_input(g, h, 0.0, grad_input=out),
        of_output=True,
    ),
    "hard_tanh": lambda _: _clipped(-1.0, 1.0),
    "relu6": lambda _: _clipped(0.0, 6.0),
    "leaky_relu": lambda p: _leaky(number(p, "negative_slope")),
    "thresholded_relu": lambda p: _threshold(number(p, "theta")),
    "elu": lambda p: _elu(number(p, "alpha"), 1.0),
    "selu": lambda _: _elu(SELU_ALPHA, SELU_SCALE),
    "softplus": lambda _: Kernels(
        lambda z, h: aten.softplus.out(z, 1.0, 20.0, out=h),
        lambda g, z, out: aten.softplus_backward.grad_input(g, z, 1.0, 20.0, grad_input=out),
    ),
    "gelu": lambda _: Kernels(
        lambda z, h: aten.gelu.out(z, out=h),
        lambda g, z, out: aten.gelu_backward.grad_input(g, z, grad_input=out),
    ),
    "silu": lambda _: Kernels(
        lambda z, h: aten.silu.out(z, out=h),
        lambda g, z, out: aten.silu_backward.grad_input(g, z, grad_input=out),
    ),
    "hard_swish": lambda _: Kernels(
        lambda z, h: aten.hardswish.out(z, out=h),
        lambda g, z, out: aten.hardswish_backward.out(g, z, out=out),
    ),
}
