"""Which path each call of a model is on, read off autograd's graph: the stream, a branch beside it, or a head.

The graph of one forward pass is copied as numbers and words, call by call while it grows, so that nothing keeps it
alive. A line is then followed from an output down to the inputs. Where several operands meet, it goes on where fewest
modules are: an addition's identity or projection is the line, and what is added to it a branch. A concatenation joins a
skip to the line, which goes on where most modules are: through a U-Net's bottom, and through a dense block. What leaves
a line and comes back to one, or begins at another input, is a branch; an output that is not the last one made ends a
head. Every call is on one line (an ear decomposition: Whitney 1932).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from gradlab.recorder.ledger import Key, OnPath
from gradlab.recorder.way_down import Place
from gradlab.tables.layers import STREAM

MOST_NODES = 50_000
"""A graph with more nodes has no paths: tens of thousands of operations are an unrolled net."""
LOOKED = 4
"""Nodes that are looked through for cells called in a loop, in MOST_NODES."""
LEAF = 2**64 - 1
"""The sequence number of every node that collects a parameter's gradient."""

CONCATENATIONS = frozenset({"CatBackward0", "StackBackward0"})
ADDITIONS = frozenset(
    {"AddBackward0", "SubBackward0", "RsubBackward1", "AddcmulBackward0", "IndexAddBackward0"}
)
PRODUCTS = frozenset({"MulBackward0", "BmmBackward0", "MmBackward0", "DotBackward0", "MvBackward0"})
SAME = frozenset(
    {
        "ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "AliasBackward0", "TransposeBackward0",
        "TBackward0", "PermuteBackward0", "SqueezeBackward0", "SqueezeBackward1", "UnsqueezeBackward0",
        "CloneBackward0", "ToCopyBackward0", "NativeDropoutBackward0",
    }
)  # fmt: skip
"""What passes a gradient on as it is, in another shape or format, or with some entries left out."""


class Node(NamedTuple):
    """operands: what it takes that a call may be below; learned: whether it takes a parameter too; scalar: its output
    is a single number, such as a loss"""

    kind: str
    operands: tuple[Place, ...]
    learned: bool
    scalar: bool


@dataclass
class Graph:
    """A copy of one forward pass's graph. calls: what was called, by the places of its outputs; order: every call"""

    nodes: dict[int, Node] = field(default_factory=dict)
    calls: dict[Place, list[Key]] = field(default_factory=dict)
    order: dict[Key, list[Place]] = field(default_factory=dict)
    whole: bool = True

    def call(self, key: Key, outputs: Iterable[Tensor]) -> None:
        """A call has made these tensors."""
        places = self.order.setdefault(key, [])
        for tensor in outputs:
            base = tensor._base
            # an operation in place on a view gives it another history, in which only the tensor beneath it appears
            beneath = base if base is not None and base.numel() == tensor.numel() else None
            for each in (tensor, beneath):
                if each is not None and (node := each.grad_fn) is not None:
                    place = Place(node._sequence_nr(), each.output_nr)
                    places.append(place)
                    self.calls.setdefault(place, []).append(key)
                    self._copy(node)

    def ends(self, outputs: Iterable[Tensor]) -> None:
        """The pass has given these tensors."""
        for tensor in outputs:
            if tensor.grad_fn is not None:
                self._copy(tensor.grad_fn)

    def _copy(self, top: Any) -> None:
        """Every node at or below `top` that is not copied yet."""
        waiting = [top]
        while waiting and self.whole:
            node = waiting.pop()
            number = node._sequence_nr()
            if number in self.nodes:
                continue
            operands, learned = [], False
            for below, output in node.next_functions:
                if below is None:
                    continue
                if (its := below._sequence_nr()) == LEAF:
                    learned = True
                elif its < number:  # made before; a graph in which that does not hold is of several threads
                    operands.append(Place(its, output))
                    waiting.append(below)
            facts: Any = getattr(node, "_input_metadata", ())
            scalar = len(facts) == 1 and len(facts[0].shape) == 0
            self.nodes[number] = Node(node.name(), tuple(operands), learned, scalar)
            self.whole = len(self.nodes) <= MOST_NODES


@dataclass
class _Line:
    """Calls from an output or a join, at `start`, down to a fork, or to an input.

    nodes: by their numbers, how many of the calls come before each
    into:  the line that takes it, which of its nodes, and how; None for that of an output
    fork:  the line that it left, and which of its nodes
    """

    start: Place
    calls: list[Key] = field(default_factory=list)
    nodes: dict[int, int] = field(default_factory=dict)
    into: tuple[int, int, str] | None = None
    fork: tuple[int, int] | None = None


def paths(graph: Graph) -> dict[Key, OnPath]:
    """The path of each call, of the last call of a branch with what it goes into. Nothing is known of a graph that is
    too large or without calls, and of one that is unrolled by hand over time, where each step joins the last one's."""
    found = _Lines(graph)
    if not graph.whole or not found.trace():
        return {}
    return found.named()


class _Lines:
    """The lines of a graph, those of outputs first."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        # of each node: modules and nodes on the way down from it, where that goes on, the first call on it
        self.cost: dict[int, tuple[int, int]] = {}
        self.way: dict[int, Place] = {}
        self.near: dict[int, Key] = {}
        self.lines: list[_Line] = []
        self.owner: dict[int, int] = {}  # of each node that a line goes through
        self.known: set[Key] = set()
        self.unrolled = False
        self.cut = LEAF  # the node of the first line above which it is a head
        self.numbers = sorted(graph.nodes)
        self.reached: dict[Key, tuple[int, set[int]]] = {}
        self.looked = 0
        self._measure()

    def _measure(self) -> None:
        for number in self.numbers:
            node = self.graph.nodes[number]
            ways = [place for place in node.operands if self._has_calls(place)]
            if node.kind.startswith("ScaledDotProduct"):
                ways.reverse()  # attention passes the values on
            if not ways:
                self.cost[number] = (0, 0)
                continue
            best = (max if node.kind in CONCATENATIONS else min)(ways, key=self._cost_of)
            modules, nodes = self._cost_of(best)
            self.cost[number], self.way[number] = (modules, nodes + 1), best
            self.near[number] = self._near(best)

    def _has_calls(self, place: Place) -> bool:
        return place in self.graph.calls or place.node in self.way

    def _cost_of(self, place: Place) -> tuple[int, int]:
        modules, nodes = self.cost.get(place.node, (0, 0))
        return modules + len(self.graph.calls.get(place, ())), nodes

    def _near(self, place: Place) -> Key:
        """The first call at or below a place that has any."""
        here = self.graph.calls.get(place)
        return here[-1] if here else self.near[place.node]

    def trace(self) -> bool:
        """Follow every line; whether there are any."""
        waiting: deque[tuple[int, int, Place]] = deque()  # line, node, operand
        for top in self._tops():
            self._follow(_Line(top), waiting)
            while waiting:
                line, number, place = waiting.popleft()
                into = line, number, self._joins(number, place)
                self._follow(_Line(place, into=into), waiting)
        return bool(self.known) and not self.unrolled

    def _tops(self) -> list[Place]:
        """What nothing takes, that with most modules below it first; of a loss that the model computes itself, what
        it is made of."""
        nodes = self.graph.nodes
        taken = {place.node for node in nodes.values() for place in node.operands}
        waiting = [Place(number, 0) for number in nodes if number not in taken]
        tops, seen = [], set[Place]()
        while waiting:
            place = waiting.pop()
            node = nodes.get(place.node)
            if place in seen or node is None:
                continue
            seen.add(place)
            if node.scalar and place not in self.graph.calls:
                waiting += [each for each in node.operands if self._has_calls(each)]
            else:
                tops.append(place)
        return sorted(tops, key=lambda place: (self._cost_of(place), place), reverse=True)

    def _follow(self, line: _Line, waiting: deque[tuple[int, int, Place]]) -> None:
        number_of_line, place = len(self.lines), line.start
        self.lines.append(line)
        nodes = self.graph.nodes
        last: Key | None = None
        while True:
            above = len(line.calls)
            for key in reversed(self.graph.calls.get(place, ())):
                last = key
                if key not in self.known:
                    self.known.add(key)
                    line.calls.append(key)
            number = place.node
            if number in self.owner:
                line.fork = self.owner[number], number
                return
            node = nodes.get(number)
            if node is None:
                return
            self.owner[number] = number_of_line
            line.nodes[number] = above
            if number not in self.way:
                return
            place = self._choose(number, last)
            waiting.extend(
                (number_of_line, number, each)
                for each in node.operands
                if each != place and self._has_calls(each)
            )

    def _choose(self, number: int, last: Key | None) -> Place:
        """Where a line goes on below a node. last: the call that it went through last

        A cell that is called in a loop takes its own state, so that the line goes back through time.
        """
        usual = self.way[number]
        ways = [place for place in self.graph.nodes[number].operands if self._has_calls(place)]
        if len(ways) < 2:
            return usual
        if last is not None and last[1] > 1:
            before = (last[0], last[1] - 1)
            back = [place for place in ways if self._reaches(place, before)]
            if back and len(back) < len(ways):
                return min(back, key=self._cost_of)
        near = self._near(usual)
        if near[1] > 1:
            before = (near[0], near[1] - 1)
            under = [
                each for place in self.graph.order[near] for each in self.graph.nodes[place.node].operands
            ]
            if not any(self._reaches(place, before) for place in under):
                self.unrolled |= any(self._reaches(each, before) for each in ways if each != usual)
        return usual

    def _reaches(self, place: Place, key: Key) -> bool:
        """Whether a call made something that a place is made of. What is looked through is kept for the next question,
        and all questions together look through a few graphs' worth of nodes."""
        wanted = self.graph.order.get(key)
        if not wanted:
            return False
        if key not in self.reached:
            self.reached[key] = bisect_left(self.numbers, min(place.node for place in wanted)), set()
        first, found = self.reached[key]
        last = bisect_right(self.numbers, place.node)
        self.looked += max(last - first, 0)
        if self.looked > LOOKED * MOST_NODES:
            return False
        for number in self.numbers[first:last]:
            operands = self.graph.nodes[number].operands
            if any(each in wanted or each.node in found for each in operands):
                found.add(number)
        self.reached[key] = max(first, last), found
        return place in wanted or place.node in found

    def _joins(self, number: int, place: Place) -> str:
        """How what comes to an operand of a node joins the line there: a word of `tables.layers.JOINS`."""
        nodes, kind = self.graph.nodes, self.graph.nodes[number].kind
        if kind in CONCATENATIONS:
            return "concatenated"
        if kind in PRODUCTS or kind.startswith("ScaledDotProduct"):
            return "multiplied"
        if kind not in ADDITIONS:
            return "other"
        word = "added"
        while place not in self.graph.calls and (node := nodes.get(place.node)) is not None:
            if len(node.operands) + node.learned > 1:
                return "scaled"
            if node.kind not in SAME:
                word = "transformed"
            if place.node not in self.way:
                break
            place = self.way[place.node]
        return word

    def named(self) -> dict[Key, OnPath]:
        at = {key: place for place, key in enumerate(self.graph.order)}
        for (
            key,
            places,
        ) in self.graph.order.items():  # an output that nothing takes may be on a line all the same
            owners = [self.owner[place.node] for place in places if place.node in self.owner]
            if key not in self.known and owners:
                self.lines[owners[0]].calls.append(key)
                self.known.add(key)
        heads = self._heads()
        names = {0: STREAM}
        counts = {"branch": 0, "head": 0, STREAM: 1}
        begins = [min((at[key] for key in line.calls), default=len(at)) for line in self.lines]
        for number, line in reversed([*enumerate(self.lines)]):  # a branch stands before those that join it
            if line.into is not None:
                begins[line.into[0]] = min(begins[line.into[0]], begins[number])
        lines = [number for number, line in enumerate(self.lines) if line.calls and number]
        for number in sorted(lines, key=lambda each: (begins[each], each)):
            line = self.lines[number]
            sort = "branch" if line.into is not None else "head" if number in heads else STREAM
            counts[sort] += 1
            names[number] = f"{sort} {counts[sort]}"
        found: dict[Key, OnPath] = {}
        for number, line in enumerate(self.lines):
            for key in line.calls:
                found[key] = OnPath(names[number])
            if line.calls and line.into is not None:
                into, at_node, joins = line.into
                while into not in names and (beyond := self.lines[into].into) is not None:
                    into, at_node, _ = beyond  # a line without a call of its own
                if into == 0 and at_node > self.cut:
                    into = len(self.lines) - 1
                found[line.calls[0]] = OnPath(names[number], names.get(into, ""), joins)
        for line in self.lines:  # a skip without a call of its own
            if not line.calls and line.into is not None and line.into[2] == "concatenated":
                key = self._near(line.start)
                found[key] = OnPath(
                    found[key].path,
                    found[key].into or names.get(line.into[0], ""),
                    found[key].joins or "concatenated",
                )
        return found

    def _heads(self) -> set[int]:
        """The lines of outputs that leave another line. Where the first line is no longer above the fork than the
        longest of them, it is a head there too, and becomes a line of its own."""
        forked = {
            n: line for n, line in enumerate(self.lines) if line.into is None and line.fork and line.calls
        }
        main = self.lines[0]
        forks = [line.fork[1] for line in forked.values() if line.fork is not None and line.fork[0] == 0]
        fork = max(forks, default=0)  # the topmost: nodes further down have lower numbers
        own = main.nodes[fork] if forks else 0
        if 0 < own <= max((len(line.calls) for line in forked.values()), default=0):
            self.lines.append(_Line(main.start, calls=main.calls[:own]))
            del main.calls[:own]
            self.cut = fork
            forked[len(self.lines) - 1] = self.lines[-1]
        return {*forked}


def on_paths(graphs: Sequence[Graph], known: Mapping[Key, OnPath]) -> dict[Key, OnPath]:
    """What the passes of one step say of calls that are not known yet, the first pass first."""
    found = dict(known)
    for graph in graphs:
        found = paths(graph) | found
    return found
