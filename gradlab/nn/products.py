"""The products of linear maps on stacks, prepared once for memory that stays where it is.

A layer of a small net multiplies for a few microseconds, and looking at shapes and strides would take some more. A
prepared product is only called. Where `gradlab.base.blas` has a library, that library multiplies, and a replica gets
the same bits in a stack as alone. Everywhere else torch multiplies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradlab.base import blas

Call = Callable[[], object]
FORMATS = {torch.float32: "float32", torch.float64: "float64"}


def product(a: Tensor, b: Tensor, out: Tensor) -> Call:
    """A call that writes a b into out: [replica, m, k] and [replica, k, n] -> [replica, m, n], all without gradient.

    Raises RuntimeError for what does not fit together.
    """
    return _by_own_blas(a, b, out, onto=False) or partial(torch.bmm, a, b, out=out)


def affine(bias: Tensor, a: Tensor, b: Tensor, out: Tensor) -> Call:
    """As `product`, but that the call writes a b + bias; bias: [replica, 1, n]."""
    multiply = _by_own_blas(a, b, out, onto=True)
    if multiply is None:
        return partial(torch.baddbmm, bias, a, b, out=out)

    def run() -> None:
        out.copy_(bias)
        multiply()

    return run


def linear(bias: Tensor, h: Tensor, weight: Tensor) -> Tensor:
    """h weight + bias for autograd: h [replica, batch, in], weight [replica, in, out], bias [replica, 1, out]."""
    if blas.own() is None:
        return torch.baddbmm(bias, h, weight)
    z: Tensor = _Linear.apply(bias, h, weight)  # type: ignore[no-untyped-call]
    return z


class _Linear(torch.autograd.Function):
    """`affine`, and the products that are its gradient."""

    @staticmethod
    def forward(ctx: Any, bias: Tensor, h: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(h, weight)
        out = h.new_empty(*h.shape[:-1], weight.shape[-1])
        affine(bias, h, weight, out)()
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        h, weight = ctx.saved_tensors
        of_bias, of_h, of_weight = ctx.needs_input_grad
        return (
            gradient.sum(dim=1, keepdim=True) if of_bias else None,
            _times(gradient, weight.transpose(1, 2)) if of_h else None,
            _times(h.transpose(1, 2), gradient) if of_weight else None,
        )


class _Times(torch.autograd.Function):
    """a b, [replica, m, k] and [replica, k, n], and the products that are its gradient."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return _multiplied(a, b)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        of_a, of_b = ctx.needs_input_grad
        return (
            _times(gradient, b.transpose(1, 2)) if of_a else None,
            _times(a.transpose(1, 2), gradient) if of_b else None,
        )


def _times(a: Tensor, b: Tensor) -> Tensor:
    """a b inside a backward pass; with gradients enabled, it will be differentiated itself."""
    if not torch.is_grad_enabled():
        return _multiplied(a, b)
    found: Tensor = _Times.apply(a, b)  # type: ignore[no-untyped-call]
    return found


def _multiplied(a: Tensor, b: Tensor) -> Tensor:
    out = a.new_empty(a.shape[0], a.shape[1], b.shape[2])
    product(a, b, out)()
    return out


class _Product:
    """a b, or a b + out, into out, by gradlab's BLAS: its arguments, and the tensors whose addresses are among them.

    Whoever gives one of them other memory (`share_memory_`, `set_`, another `data`) must prepare the product again.
    """

    __slots__ = ("arguments", "gemm", "held")

    def __init__(
        self, gemm: Callable[..., None], arguments: tuple[float, ...], held: tuple[Tensor, ...]
    ) -> None:
        self.gemm, self.arguments, self.held = gemm, arguments, held

    def __call__(self) -> None:
        self.gemm(*self.arguments)


def _by_own_blas(a: Tensor, b: Tensor, out: Tensor, onto: bool) -> Call | None:
    """The product by gradlab's BLAS, added to what `out` holds where `onto`; None where the library cannot do that."""
    (replicas, m, n), k = out.shape, b.shape[-2]
    if a.shape != (replicas, m, k) or b.shape != (replicas, k, n) or not a.dtype == b.dtype == out.dtype:
        described = (f"{x.dtype} {list(x.shape)}" for x in (a, b, out))
        raise RuntimeError("{} times {} is no {}".format(*described))
    library = blas.own() if a.is_cpu and b.is_cpu and out.is_cpu else None
    gemm = library.gemm.get(FORMATS.get(out.dtype, "")) if library else None
    if gemm is None:
        return None
    first, second, result = _layout(a), _layout(b), _layout(out)
    if not (first and second and result and result[0] == blas.NO_TRANSPOSE):
        return None
    strides = a.stride(0), b.stride(0), out.stride(0)
    if (
        not (replicas and m and n and k)
        or max(*strides, first[1], second[1], result[1]) > blas.LARGEST_INTEGER
    ):
        return None
    arguments = (
        *(blas.ROW_MAJOR, first[0], second[0], m, n, k),
        *(1.0, a.data_ptr(), first[1], strides[0], b.data_ptr(), second[1], strides[1]),
        *(float(onto), out.data_ptr(), result[1], strides[2], replicas),
    )
    return _Product(gemm, arguments, (a, b, out))


def _layout(x: Tensor) -> tuple[int, int] | None:
    """Whether the matrices of [replica, m, n] lie transposed in memory, and their leading dimension there; None where
    neither rows nor columns are contiguous."""
    _, m, n = x.shape
    _, down, right = x.stride()
    if (right == 1 or n == 1) and (down >= n or m == 1):
        return blas.NO_TRANSPOSE, n if m == 1 else down
    if (down == 1 or m == 1) and (right >= m or n == 1):
        return blas.TRANSPOSE, m if n == 1 else right
    return None
