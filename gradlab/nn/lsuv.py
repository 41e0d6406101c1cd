"""Layer-sequential unit variance: an initialisation that looks at the data (Mishkin & Matas 2016, algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradlab.nn import statistics as st
from gradlab.nn.mlp import StackedLinear, StackedMLP

ROWS = 512  # training rows that stand for the data
ITERATIONS = 10  # the paper's T_max; with a linear layer and zero biases one suffices


@torch.no_grad()
def scale_to_unit_variance(mlp: StackedMLP, inputs: Tensor, tolerance: float) -> None:
    """Divide each layer's weights by the standard deviation of its z, first layer first, replica by replica.

    inputs: [row, feature]; tolerance: how far the variance of z may stay from 1. One pass: every layer is scaled
    before the next one sees its output. Norms run in eval mode. A layer whose z is constant is left alone.
    """

    def rescale(module: nn.Module, args: tuple[Tensor, ...], z: Tensor) -> Tensor:
        assert isinstance(module, StackedLinear)
        for _ in range(ITERATIONS):
            std = st.mean_std(z)[1]
            off = ((std.square() - 1).abs() > tolerance) & (std > 0) & std.isfinite()
            if not bool(off.any()):
                break
            factor = torch.where(off, std, torch.ones_like(std)).to(module.weight.dtype)
            module.weight.div_(factor.reshape(-1, 1, 1))
            z = module.forward(*args)
        return z

    handles = [linear.register_forward_hook(rescale) for linear in mlp.linears]
    try:
        with mlp.evaluating():
            mlp(inputs[:ROWS].unsqueeze(0).expand(mlp.readout.weight.shape[0], -1, -1))
    finally:
        for handle in handles:
            handle.remove()
