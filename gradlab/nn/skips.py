"""The residual scheme of one hidden layer as a module: it holds what the scheme learns there, and calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gradlab.parts.residuals import Residual

Pair = tuple[Tensor, Tensor | None]


class Skip(nn.Module):
    """The three moments of hidden layer `layer` (from 1). The stream is [replica, batch, unit], None until the stem has
    set it; what is learned is [replica, 1, 1] under the names that the scheme gives.

    stem: whether it is layer 1; ends: whether it is the last of a block
    """

    if TYPE_CHECKING:  # what a scheme learns is a tensor

        def __getattr__(self, name: str) -> Tensor: ...

    def __init__(self, scheme: Residual, layer: int, replicas: int) -> None:
        super().__init__()
        self.scheme = scheme
        self.stem, self.ends = layer == 1, scheme.ends_block(layer)
        for name, start in scheme.learned(layer).items():
            self.register_parameter(name, nn.Parameter(torch.full((replicas, 1, 1), start)))

    def enter(self, h: Tensor) -> Tensor:
        return self.scheme.enter(self, h)

    def before(self, z: Tensor, stream: Tensor | None, norm: Callable[[Tensor], Tensor]) -> Pair:
        return self.scheme.before(self, z, stream, norm)

    def after(self, h: Tensor, stream: Tensor | None) -> Pair:
        return self.scheme.after(self, h, stream)
