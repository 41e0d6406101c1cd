"""A registered normalisation as a module of a stack: it holds what the norm learns and keeps, and calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gradlab.parts import norms


class Norm(nn.Module):
    """[replica, batch, unit] in and out; parameters and buffers are [replica, 1, unit] under their declared names."""

    if TYPE_CHECKING:  # what a norm declares is a tensor

        def __getattr__(self, name: str) -> Tensor: ...

    def __init__(self, norm: norms.Norm, replicas: int, width: int) -> None:
        super().__init__()
        for name, start in norm.definition.learned.items():
            self.register_parameter(name, nn.Parameter(torch.full((replicas, 1, width), start)))
        for name, start in norm.definition.running.items():
            self.register_buffer(name, torch.full((replicas, 1, width), start))
        self._compute, self._values = norm.definition.compute, norm.values

    def forward(self, z: Tensor) -> Tensor:
        assert self._compute is not None
        return self._compute(z, self, self._values)


def build_norm(norm: norms.Norm, replicas: int, width: int, seeds: tuple[int, ...]) -> nn.Module | None:
    """The module for one layer of a stack; None where there is no normalisation.

    seeds: one a replica; they seed the initial parameters of a user's own module, and nothing else.
    """
    if norm.none:
        return None
    return Norm(norm, replicas, width) if norm.build is None else norm.build(replicas, width, seeds)
