"""tanh of tensors, by NumPy on the CPU.

torch hands it to MKL, which takes 2 ns an entry of float32 on some CPUs; NumPy's vectorised one takes a tenth of it (a
fifth in float64) and is right to 1.4 units in the last place (measured on AMD's Zen 5).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

NUMPYS = (torch.float32, torch.float64)


def tanh_into(z: Tensor, h: Tensor) -> None:
    """Write tanh(z) into h, which may be z; both without gradient."""
    if z.is_cpu and z.dtype in NUMPYS:
        np.tanh(z.numpy(), out=h.numpy())
    else:
        torch.tanh(z, out=h)


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        h = torch.empty_like(z)
        tanh_into(z, h)
        ctx.save_for_backward(h)
        return h

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        slope: Tensor = torch.ops.aten.tanh_backward(gradient, h)
        return slope


def tanh(z: Tensor) -> Tensor:
    """tanh of any shape, seen by whoever watches torch's functions, as torch's own is."""
    if has_torch_function_unary(z):
        return handle_torch_function(tanh, (z,), z)
    h: Tensor = _Tanh.apply(z)  # type: ignore[no-untyped-call]
    return h
