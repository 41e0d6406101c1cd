"""Gradient norms and clipping, replica by replica."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradlab.nn import statistics as st

Owners = Sequence[tuple[nn.Parameter, int | None]]


def gradient_norms(owners: Owners, gradients: Sequence[Tensor]) -> Tensor:
    """L2 norm over all parameters of each replica: [replica], wide.

    owners: the parameters' replicas as `StackedMLP.owners` gives them, in the order of `gradients`.
    """
    stacked = [
        g.reshape(len(g), -1) for g, (_, owner) in zip(gradients, owners, strict=True) if owner is None
    ]
    norms = st.norm(torch.cat(stacked, dim=1))
    for gradient, (_, owner) in zip(gradients, owners, strict=True):
        if owner is not None:
            own = torch.zeros_like(norms)
            own[owner] = st.norm(gradient.reshape(1, -1))[0]
            norms = torch.hypot(norms, own)
    return norms


def clip(owners: Owners, gradients: Sequence[Tensor], norms: Tensor, limit: float) -> list[Tensor]:
    """Gradients scaled so that no replica's norm exceeds `limit` (Pascanu et al. 2013). A NaN norm leaves NaN.

    norms: [replica], from `gradient_norms`.
    """
    factors = torch.clamp(
        limit / norms, max=1.0
    )  # 0 / 0 cannot occur: limit > 0, and a zero norm gives inf -> 1
    return [
        g * (factors.reshape(-1, *[1] * (g.dim() - 1)) if owner is None else factors[owner]).to(g.dtype)
        for g, (_, owner) in zip(gradients, owners, strict=True)
    ]
