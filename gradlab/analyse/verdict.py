"""What a verdict is: one entry that says everything about it, in a file of its own in `gradlab/analyse/verdicts`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

from gradlab.base.grammar import Parameter

if TYPE_CHECKING:
    from gradlab.analyse.cure import Cure
    from gradlab.analyse.facts import Facts
    from gradlab.analyse.fault import Fault
    from gradlab.analyse.remedy import Remedy
    from gradlab.config.sections import Network, Training

Severity = Literal["stops learning", "slows learning", "stands out"]
"""What it does to a net: nothing is learned, less or later than could be, or it is worth a look."""


@dataclass(frozen=True)
class Style:
    """How a word is coloured.

    name: what the page's style sheet calls it; terminal: a colour of rich
    light, dark: the colours of text and background on the page, in its two schemes
    """

    name: str
    terminal: str
    light: tuple[str, str]
    dark: tuple[str, str]


GOOD = Style("good", "green", ("#0a5c36", "#dff3e8"), ("#8fe0b4", "#12382a"))
POOR = Style("poor", "yellow", ("#7a4b00", "#fdf0d5"), ("#f5cc7f", "#40300d"))
BAD = Style("bad", "red", ("#96180f", "#fde4e0"), ("#ffb0a6", "#4a1813"))


class Phase(Enum):
    """When a verdict is judged, in this order."""

    BREAK = "break"
    """First, on all records. Where it holds, what the later records show is left behind by it, and the seed counts as
    one that does not learn."""
    FAULT = "fault"
    """On the records that count then."""
    OUTCOME = "outcome"
    """What training came to: only of seeds in which nothing broke, and without a step from which it shows."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """What a cell can be called.

    summary: one sentence of what it means; severity: what it does to the net, None for nothing
    headline: what happened, in words that need no knowledge of the field: the start of a sentence without its full
        stop (`analyse/headline.py` adds the numbers); of one that has none the summary is taken
    """

    name: str
    summary: str
    style: Style
    headline: str = ""
    severity: Severity | None = None


HEALTHY = Word(
    name="healthy",
    summary="the net learns, and no fault was seen in half of the seeds or more",
    style=GOOD,
    headline="The gradient survives",
)
UNDECIDED = Word(
    name="undecided", summary="no fault was seen, and whether the net learns is not known", style=Style(
        "undecided", "cyan", ("#3d4a57", "#e6ebf0"), ("#b9c6d3", "#2a333c")
    ), headline="No fault is seen, and whether the net learns is not known yet",
)  # fmt: skip


def nothing(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    return ""


def no_budget(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Mapping[str, float]:
    return {}


def no_remedies(network: Network, training: Training) -> Iterator[Remedy]:
    """Of a fault that gradlab's own nets cannot have."""
    yield from ()


def no_cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    yield from ()


@dataclass(frozen=True, kw_only=True)
class Verdict(Word):
    """A fault that a net can have.

    order:     causes stand before what they cause: of faults that show at the same step the lowest is named first
    reads:     the columns of layers.csv and steps.csv that `judge` reads of the records, beside those of `facts.READS`
    judge:     of each seed the fault it has, or None
    evidence:  why, in words and numbers, given the seeds (indices) that agree and the fault of each
    predicted: what theory says of it, given the same; "" where it says nothing
    budget:    which parts of the net lose or gain the gradient, in decades, given the same
    remedies:  changes of a configuration that has this fault, the likeliest and smallest first
    cures:     the same for a training of one's own, from what was recorded of it; given what `evidence` is given
    overflows: it leaves numbers that are not finite, so that where it holds a missing delta is no gap in the records
    of_few_seeds: it says that seeds disagree, so that it is the cell's in however few of three or more it holds
    """

    order: int
    judge: Callable[[Facts], Sequence[Fault | None]]
    evidence: Callable[[Facts, Sequence[int], Sequence[Fault]], str]
    remedies: Callable[[Network, Training], Iterator[Remedy]]
    cures: Callable[[Facts, Sequence[int], Sequence[Fault]], Iterator[Cure]] = no_cures
    predicted: Callable[[Facts, Sequence[int], Sequence[Fault]], str] = nothing
    budget: Callable[[Facts, Sequence[int], Sequence[Fault]], Mapping[str, float]] = no_budget
    reads: tuple[str, ...] = ()
    phase: Phase = Phase.FAULT
    overflows: bool = False
    of_few_seeds: bool = False

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {}
