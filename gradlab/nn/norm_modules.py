"""The normalisations of a stack, [replica, batch, unit] in and out; scale and shift are [replica, 1, unit]."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """Batch normalisation, each replica by itself (Ioffe & Szegedy 2015, algorithm 1).

    Training mode uses the batch's mean and biased variance and moves the running ones by `momentum` (the running
    variance is the unbiased one, as in torch); eval mode uses the running ones, which start at 0 and 1.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, replicas: int, width: int, eps: float, momentum: float) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.scale = nn.Parameter(torch.ones(replicas, 1, width))
        self.shift = nn.Parameter(torch.zeros(replicas, 1, width))
        self.register_buffer("running_mean", torch.zeros(replicas, 1, width))
        self.register_buffer("running_var", torch.ones(replicas, 1, width))

    def forward(self, z: Tensor) -> Tensor:
        if self.training:
            var, mean = torch.var_mean(z, dim=1, keepdim=True, correction=0)
            with torch.no_grad():
                batch = z.shape[1]
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * (batch / max(batch - 1, 1)), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        return (z - mean) * torch.rsqrt(var + self.eps) * self.scale + self.shift


class LayerNorm(nn.Module):
    """Layer normalisation over the units of each sample (Ba, Kiros & Hinton 2016, eq. 4)."""

    def __init__(self, replicas: int, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(replicas, 1, width))
        self.shift = nn.Parameter(torch.zeros(replicas, 1, width))

    def forward(self, z: Tensor) -> Tensor:
        var, mean = torch.var_mean(z, dim=-1, keepdim=True, correction=0)
        return (z - mean) * torch.rsqrt(var + self.eps) * self.scale + self.shift


class RMSNorm(nn.Module):
    """Normalisation by the root mean square over the units of each sample (Zhang & Sennrich 2019, eq. 4)."""

    def __init__(self, replicas: int, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(replicas, 1, width))

    def forward(self, z: Tensor) -> Tensor:
        return z * torch.rsqrt(z.square().mean(dim=-1, keepdim=True) + self.eps) * self.scale
