"""What theory says of a forward pass: its graph read once as rules, and the deltas that these give.

The rules are read when the model returns, while the graph still has what its derivatives need; they are applied in
`recorder.step`, when the delta of the last row is known. From there the prediction goes down by itself. Where a node
has no theory it stops, and starts again at the measured delta of the next row, for which it says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradlab.recorder.graph_attention import attention_at
from gradlab.recorder.graph_rules import RULES, NoRule, Operand, Rule, is_leaf, name_of, operands_of
from gradlab.recorder.ledger import Key
from gradlab.recorder.way_down import Place
from gradlab.theory.backward.field import Field, Origins, combined, independent

MOST_NODES = 20_000
"""A graph with more nodes, such as a net unrolled over thousands of steps, is not read."""


class Predicted(NamedTuple):
    """delta_rms; noise: the variance of log(delta_rms^2) around it at finite width"""

    delta_rms: float
    noise: float


class Target(NamedTuple):
    place: Place
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One node. number: in the graph; outputs: how many it has; rule: None where there is no theory"""

    number: int
    outputs: int
    rule: Rule | None
    targets: Sequence[Target | None]


@dataclass
class Reading:
    """The rules of one forward pass, from its outputs down.

    calls: what each place in the graph is the output of; hooked: what the graph keeps is packed by hooks, such as those
    of a checkpoint, which would have to run the model again
    """

    calls: dict[Place, Key] = field(default_factory=dict)
    tops: list[Target] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    hooked: bool = False

    def call(self, key: Key, output: Tensor) -> None:
        """A module's call has made this tensor."""
        self.look_for_hooks()
        base = output._base
        # an operation in place on a view gives it another history, in which only the tensor beneath it appears
        beneath = base if base is not None and base.numel() == output.numel() else None
        for each in (output, beneath):
            if each is not None and each.grad_fn is not None:
                self.calls[Place(each.grad_fn._sequence_nr(), each.output_nr)] = key

    def look_for_hooks(self) -> None:
        self.hooked |= torch._C._autograd._top_saved_tensors_default_hooks(True) is not None

    def ends(self, outputs: Iterable[Tensor]) -> None:
        """The model returns these."""
        made = [(each.grad_fn, each) for each in outputs if each.grad_fn is not None]
        nodes = None if self.hooked else _nodes([node for node, _ in made])
        if nodes is None:
            return
        self.tops = [
            Target(Place(node._sequence_nr(), each.output_nr), tuple(each.shape)) for node, each in made
        ]
        inside: set[int] = set()  # nodes between the two products of an attention, which go as one
        with torch.no_grad():
            for number in sorted(nodes, reverse=True):
                if number not in inside:
                    self.steps.append(_step(nodes[number], number, inside))

    def predict(self, measured: Mapping[Key, float]) -> dict[Key, Predicted]:
        """The delta_rms of each row that theory says something of. measured: that of the rows as they are"""
        given: dict[Place, list[Field]] = {}
        made: dict[tuple[int, int], int] = {}
        for top in self.tops:
            given.setdefault(top.place, []).append(independent(top.shape, origins=Origins.new(made)))
        found: dict[Key, Predicted | None] = {}
        for step in self.steps:
            places = [Place(step.number, output) for output in range(step.outputs)]
            fields = [combined(given.pop(place)) if place in given else None for place in places]
            for nth, place in enumerate(places):
                fields[nth] = self._at_row(place, fields[nth], measured, found)
            if all(each is None for each in fields):
                continue
            for target, back in zip(step.targets, _applied(step, fields, made), strict=False):
                if target is not None and back is not None:
                    given.setdefault(target.place, []).append(back)
        return {key: predicted for key, predicted in found.items() if predicted is not None}

    def _at_row(
        self,
        place: Place,
        own: Field | None,
        measured: Mapping[Key, float],
        found: dict[Key, Predicted | None],
    ) -> Field | None:
        """A row keeps what is predicted of it; what is not goes on from the measured delta: None in `found`."""
        key = self.calls.get(place)
        if own is None or key is None or key not in measured:
            return own
        if key in found:  # the tensor beneath a view that was looked at already
            return own
        if isfinite(own.square):
            found[key] = Predicted(sqrt(own.square), own.noise)
            return own
        found[key] = None
        return replace(own, square=measured[key] ** 2, noise=0.0)


def _nodes(tops: Sequence[Any]) -> dict[int, Any] | None:
    """Every node at or below these, by its number, but those of parameters."""
    found: dict[int, Any] = {}
    waiting = [*tops]
    while waiting:
        node = waiting.pop()
        number = node._sequence_nr()
        if number in found or is_leaf(node):
            continue
        found[number] = node
        if len(found) > MOST_NODES:
            return None
        waiting += [below for below, _ in node.next_functions if below is not None]
    return found


def _step(node: Any, number: int, inside: set[int]) -> Step:
    operands: Sequence[Operand | None] = operands_of(node)
    rule: Rule | None = None
    try:
        if (attention := attention_at(node, operands)) is not None:
            rule, operands, between = attention
            inside |= between
        elif (build := RULES.get(name_of(node))) is not None and not _complex(node):
            rule = build(node, operands)
    except (
        NoRule,
        AttributeError,
        RuntimeError,
    ):  # RuntimeError: a kept tensor was changed in place, or is gone
        rule = None
    return Step(number, len(node._input_metadata), rule, [_target(each) for each in operands])


def _complex(node: Any) -> bool:
    return any(each.dtype.is_complex for each in node._input_metadata)


def _target(operand: Operand | None) -> Target | None:
    if operand is None or is_leaf(operand.node):
        return None
    return Target(Place(operand.node._sequence_nr(), operand.output), operand.shape)


def _applied(
    step: Step, fields: Sequence[Field | None], made: dict[tuple[int, int], int]
) -> Sequence[Field | None]:
    """What comes to each operand; where there is no theory, a gradient of which nothing is known."""
    if step.rule is not None:
        return step.rule(fields)
    return [
        None if target is None else independent(target.shape, origins=Origins.new(made))
        for target in step.targets
    ]
