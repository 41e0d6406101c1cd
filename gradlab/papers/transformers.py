"""Transformers at birth, without biases: attention, feed-forward sub-layers and their order, on stacks of nets.

Streams are [net, token, unit], float64; weights are [net, unit, unit] of variance beta^2 / unit (Glorot & Bengio's for
square matrices).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from gradlab.papers.random_nets import drawn

Order = Literal["post", "pre"]


@dataclass(frozen=True)
class Block:
    """The weights of one attention sub-layer (values and output) and one feed-forward sub-layer."""

    value: Tensor
    output: Tensor
    first: Tensor
    second: Tensor

    def weights(self) -> list[Tensor]:
        return [self.value, self.output, self.first, self.second]


def blocks(layers: int, *, nets: int, units: int, beta: float = 1.0) -> list[Block]:
    """Weights by layer, the same draws whatever the number of layers and beta."""

    def weight(layer: int, name: str) -> Tensor:
        return drawn(f"transformer {layer} {name}", nets, units, units, sigma_w=beta)

    names = ("value", "output", "first", "second")
    return [Block(*(weight(layer, name) for name in names)) for layer in range(layers)]


def normed(x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:])


def even_attention(x: Tensor, block: Block) -> Tensor:
    """Attention whose query and key weights are 0: every token gets the mean of the values."""
    return (x.mean(dim=1, keepdim=True) @ block.value @ block.output).expand_as(x)


def feed_forward(x: Tensor, block: Block) -> Tensor:
    return torch.relu(x @ block.first) @ block.second


SUB_LAYERS: tuple[Callable[[Tensor, Block], Tensor], ...] = (even_attention, feed_forward)


def streams(order: Order, x: Tensor, every: Sequence[Block], *, alpha: float = 1.0) -> list[Tensor]:
    """The stream before the first and after each block; of "post" LN(alpha x + F(x)), of "pre" x + F(LN(x))."""
    found = [x]
    for block in every:
        for sub_layer in SUB_LAYERS:
            x = (
                normed(alpha * x + sub_layer(x, block))
                if order == "post"
                else x + sub_layer(normed(x), block)
            )
        found.append(x)
    return found


def attention(x: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """The attention matrix, [net, token, token]."""
    scores = (x @ query) @ (x @ key).mT / x.shape[-1] ** 0.5
    return torch.softmax(scores, dim=-1)
