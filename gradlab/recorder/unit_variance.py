"""Initial weights of any model, layer by layer of unit variance (LSUV, Mishkin and Matas 2016)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from gradlab.recorder.evaluation import evaluation
from gradlab.recorder.units import call, tensors

TOLERANCE, MOST = 0.1, 10
"""Distance of a layer's variance from 1, and rounds, as in the paper."""


def unit_variance(model: nn.Module, inputs: Any) -> list[str]:
    """Draw the weights of every linear map and convolution anew, orthogonal, and scale each, in the order in which they
    are executed, until its outputs have variance 1 on `inputs`; biases become 0.

    inputs: what the model is called with: a tensor, a tuple of positional or a dict of named arguments
    Weights are changed in place; frozen ones stay. Returns the paths of the modules. Draws from torch's generator.

    >>> import torch, gradlab
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    >>> x = 100 * torch.randn(256, 8)
    >>> gradlab.unit_variance(model, x)
    ['0', '2']
    >>> abs(model(x).var().item() - 1) < 0.1  # the tolerance of the paper
    True
    """
    names = {module: name for name, module in model.named_modules()}
    order: list[Any] = []
    outputs: dict[Any, Tensor] = {}

    def seen(module: nn.Module, args: Any, output: Any) -> None:
        if module not in outputs:
            order.append(module)
        outputs[module] = tensors(output)[0].detach()

    chosen = [
        module
        for module in names
        if isinstance(module, nn.Linear | _ConvNd) and module.weight.requires_grad and module.weight.numel()
    ]
    handles = [module.register_forward_hook(seen) for module in chosen]
    try:
        with torch.no_grad():
            for module in chosen:
                nn.init.orthogonal_(module.weight)
                if module.bias is not None and module.bias.requires_grad:
                    module.bias.zero_()
            with evaluation(model):
                call(model, inputs)
            for module in list(order):
                for _ in range(MOST):
                    variance = float(outputs[module].double().var(correction=0))
                    if not 0 < variance < torch.inf or abs(variance - 1) <= TOLERANCE:
                        break
                    module.weight.div_(variance**0.5)
                    with evaluation(model):
                        call(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return [names[module] for module in order]
