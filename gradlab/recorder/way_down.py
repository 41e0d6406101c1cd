"""The gradient on its way down from one row to the row before: the shares of it at the points between.

A tensor's own gradient is the sum over everything that took the tensor. What one module or activation gives its input
is seen at that module's own node of autograd's graph, by a hook that adds nothing to it. Which node that is, and
whether a row's input comes from the row before at all, the graph itself says: nothing is guessed. Nodes are told
apart by their sequence numbers, so that no node, and with it no graph, is kept alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils.hooks import RemovableHandle

from gradlab.nn.mlp import StackedLinear
from gradlab.nn.norm import Norm
from gradlab.nn.statistics import Numbers

Node = Any  # of autograd's graph
Operand = tuple[Node, int]
"""What a node takes at one of its places."""

MOST_NODES = 64
"""So many nodes are looked through for a way; one that is longer, such as an unrolled recurrence, has no gains."""
MAPS = (nn.Linear, _ConvNd, StackedLinear)
NORMS = (_NormBase, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, Norm)

Point = tuple[Numbers | None, int]
"""The L2 norm of the gradient at a point between two rows, None where it is not known, and its entries (a replica)."""


class Place(NamedTuple):
    """A tensor's place in the graph of its forward pass: the node that made it, by its sequence number in its thread,
    and which of that node's outputs it is."""

    node: int
    output: int


@dataclass(slots=True)
class Share:
    """A gradient; task: its backward pass, counted from 1, 0 for one with a graph."""

    point: Point = (None, 0)
    task: int = 0


@dataclass(slots=True)
class Way:
    """Between the z of a call and the z of the call that takes its output.

    end:    where its output is, behind its activation; of_phi: what the activation takes
    taker:  the call that takes the output; part: the column of what that call's module does
    activated: its activation was found before its output was taken
    by_map: the share of the taker's module in its input; by_h: the whole gradient of the activation's output; by_phi:
            the activation's share in its input
    """

    end: Place | None = None
    of_phi: Place | None = None
    taker: tuple[str, int] | None = None
    part: str = ""
    activated: bool = False
    by_map: Share = field(default_factory=Share)
    by_h: Share = field(default_factory=Share)
    by_phi: Share = field(default_factory=Share)


def part_of(module: nn.Module) -> str:
    """The gain that a module's own share counts as; "" for one that is neither a linear map nor a norm."""
    return "weight_gain" if isinstance(module, MAPS) else "norm_gain" if isinstance(module, NORMS) else ""


def place_of(tensor: Tensor) -> Place | None:
    """None for a tensor that no node made."""
    node = tensor.grad_fn
    return None if node is None else Place(node._sequence_nr(), tensor.output_nr)


def operands_at(top: Node, place: Place) -> list[Operand]:
    """The nodes at or below `top` that took the tensor at `place`, each with the number of that operand; none where
    there are more nodes between than one can look through.

    A node's operands were made before it and have lower sequence numbers, so that no other part of the graph is
    looked at; those that collect a parameter's gradient have the highest number of all.
    """
    found: list[Operand] = []
    lowest, wanted = place
    highest = top._sequence_nr()
    waiting, seen = [top], {highest}
    while waiting:
        node = waiting.pop()
        for operand, (below, output) in enumerate(node.next_functions):
            if below is None or not lowest <= (number := below._sequence_nr()) < highest:
                continue
            if number == lowest:
                if output == wanted:
                    found.append((node, operand))
            elif number not in seen:
                if len(seen) == MOST_NODES:
                    return []
                seen.add(number)
                waiting.append(below)
    return found


def is_from(tensor: Tensor, place: Place) -> bool:
    """Whether a tensor is the one at `place`, or was made of it."""
    own = place_of(tensor)
    return own is not None and (
        own == place or (own.node > place.node and bool(operands_at(tensor.grad_fn, place)))
    )


def watch(operands: Sequence[Operand], share: Callable[[Tensor], None]) -> Iterator[RemovableHandle]:
    """Tell `share` of the gradient that nodes give one operand: of all together, in every backward pass."""
    if len(operands) == 1:
        ((node, operand),) = operands

        def alone(of_operands: Sequence[Tensor | None], _: object) -> None:
            if (gradient := of_operands[operand]) is not None:
                share(gradient)

        yield node.register_hook(alone)
        return
    parts: dict[int, Tensor] = {}

    def part(number: int, operand: int) -> Callable[..., None]:
        def hook(of_operands: Sequence[Tensor | None], _: object) -> None:
            if (gradient := of_operands[operand]) is not None:
                parts[number] = gradient.detach()
            if len(parts) == len(operands):
                share(reduce(add, parts.values()))
                parts.clear()

        return hook

    for number, (node, operand) in enumerate(operands):
        yield node.register_hook(part(number, operand))
