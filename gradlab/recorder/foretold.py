"""What theory says of a module's output, from its weights and the mean square of what it is given."""

from __future__ import annotations

from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized

from gradlab.base.errors import ConfigError
from gradlab.nn.statistics import wide_dtype
from gradlab.recorder.graph_rules import energy_of
from gradlab.sensors.metrics import Found
from gradlab.theory import forward
from gradlab.theory.backward.weights import Convolution
from gradlab.theory.band import DEVIATIONS
from gradlab.theory.forward import Signal

Array = NDArray[np.float64]


@np.errstate(all="ignore")  # weights and inputs may be anything
def signal_of(module: nn.Module, x: Tensor, z: Tensor) -> Signal | None:
    """z of a module that was given x, in the mode in which it is; None where there is no theory."""
    plain = type(module).__module__.startswith("torch.nn.modules") and not is_parametrized(module)
    if not plain or not x.is_floating_point() or not x.numel():
        return None
    if isinstance(module, nn.Linear):
        return forward.mapped(_square(x), np.square(_array(module.weight)).sum(1), _bias(module))
    if isinstance(module, _ConvNd):
        return _convolved(module, x, z)
    if isinstance(module, _NormBase):
        return _by_channel(module, x)
    if isinstance(module, nn.LayerNorm | nn.RMSNorm | nn.GroupNorm):
        square = _square(x) if isinstance(module, nn.RMSNorm) else float(x.var(correction=0))
        epsilon = module.eps if module.eps is not None else 0.0
        weight = None if module.weight is None else _array(module.weight)
        return forward.normalised(square, epsilon, weight, _bias(module))
    return None


def _convolved(module: _ConvNd, x: Tensor, z: Tensor) -> Signal | None:
    axes = len(module.kernel_size)
    if x.dim() != axes + 2 or module.padding_mode != "zeros":
        return None
    padding = module.padding
    if isinstance(padding, str):  # "same", of odd kernels
        sizes = zip(module.kernel_size, module.dilation, strict=True)
        padding = tuple(0 if padding == "valid" else (size - 1) * step // 2 for size, step in sizes)
    transposed = isinstance(module, _ConvTransposeNd)
    energy = energy_of(module.weight, transposed, module.groups)
    conv = Convolution(energy, module.stride, padding, module.dilation, transposed, tuple(x.shape[1:]))
    return forward.convolved(_square(x), conv, tuple(z.shape[2:]), _bias(module))


def _by_channel(module: _NormBase, x: Tensor) -> Signal | None:
    """Batch norm. In eval mode it divides each channel by what it has seen, not by what it is given."""
    weight = None if module.weight is None else _array(module.weight)
    others = [dim for dim in range(x.dim()) if dim != 1]
    variance = x.var(dim=others, correction=0)
    if module.training or module.running_var is None or module.running_mean is None:
        return forward.normalised(float(variance.mean()), module.eps, weight, _bias(module))
    scale = 1 / np.sqrt(_array(module.running_var) + module.eps) * (1.0 if weight is None else weight)
    shift = (_array(x.mean(dim=others)) - _array(module.running_mean)) * scale
    bias = _bias(module)
    return forward.mapped(1.0, np.square(scale) * _array(variance), shift if bias is None else shift + bias)


def _square(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x, dtype=wide_dtype(x)) ** 2) / x.numel()


def _bias(module: nn.Module) -> Array | None:
    bias = getattr(module, "bias", None)
    return _array(bias) if isinstance(bias, Tensor) else None


def _array(x: Tensor) -> Array:
    found: Array = x.detach().double().cpu().numpy()
    return found


@np.errstate(all="ignore")
def h_predicted(signal: Signal, activation: str, units: int) -> Found:
    """Columns of the activation of z; none where the activation is not known."""
    try:
        square, spread = forward.activated(signal, activation)
    except ConfigError:
        return {}
    return {"h_rms_predicted": [sqrt(square)], "h_rms_band": [band(spread / max(units, 1))]}


def band(noise: float) -> float:
    """The factor by which finite width lets a root mean square differ, inf where that is beyond float64.

    noise: variance of the logarithm of its square
    """
    return float(np.exp(DEVIATIONS * sqrt(noise) / 2 + noise / 4))
