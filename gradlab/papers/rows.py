"""What a reproduction is made of: rows with a tolerance fixed beforehand, panels of its figure, verdicts on claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan, nan, sqrt
from typing import Literal, get_args

from numpy.typing import ArrayLike

from gradlab.analyse.seeds import mean_interval

COLUMNS = (
    "paper",
    "row",
    "statement",
    "published",
    "measured",
    "ci_low",
    "ci_high",
    "tolerance",
    "outcome",
    "seconds",
    "source",
    "provenance",
    "found",
    "changed",
)
NORMAL_95 = 1.959963984540054

Outcome = Literal["pass", "fail", "not asserted"]
Provenance = Literal["P", "D", "R"]
Kind = Literal["line", "points", "bars"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


@dataclass(frozen=True)
class Measured:
    """A measured number and its 95 % interval; nan where there is none (a quadrature, a single exact number)."""

    value: float
    low: float = nan
    high: float = nan


@dataclass(frozen=True)
class Tolerance:
    """A measured value passes inside [low, high]. `why` says where these limits come from."""

    low: float
    high: float
    why: str

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def limits(self, digits: int) -> str:
        """Without the reason."""
        if self.low == -inf:
            return f"at most {self.high:.{digits}g}"
        if self.high == inf:
            return f"at least {self.low:.{digits}g}"
        return f"{self.low:.{digits}g} to {self.high:.{digits}g}"

    def __str__(self) -> str:
        return f"{self.limits(10)}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    row:        its name, unique in its paper
    published:  the number of the paper or of the derivation, or a text where it is not one number
    tolerance:  None reports the measurement without asserting anything
    source:     paper with section, equation or figure
    provenance: P printed in the paper or its code, D derived from stated equations and checked by simulation,
                R recalled, which asserts nothing
    found:      of an asserted row that fails, and is known to: what is there instead, and why
    changed:    what of the set-up or the tolerance was changed after a first measurement, and why
    """

    row: str
    statement: str
    published: float | str
    measured: Measured
    tolerance: Tolerance | None
    source: str
    provenance: Provenance
    found: str = ""
    changed: str = ""

    def __post_init__(self) -> None:
        assert self.provenance != "R" or self.tolerance is None, (
            f"{self.row}: what is recalled asserts nothing"
        )

    @property
    def outcome(self) -> Outcome:
        if self.tolerance is None:
            return "not asserted"
        return "pass" if self.tolerance.holds(self.measured.value) else "fail"

    @property
    def unexplained(self) -> bool:
        """Whether it fails, and nobody has said what was found instead."""
        return self.outcome == "fail" and not self.found


@dataclass(frozen=True)
class Series:
    """One set of marks: x, y [n]; `low` and `high` the limits of its interval, [n] or empty."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    kind: Kind = "line"
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Panel:
    """One set of axes of a paper's figure."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the numbers say about a claim: `verdict` follows from `because` by a rule in the paper's module."""

    claim: str
    statement: str
    verdict: str
    because: str


Finding = Row | Panel | Verdict


def exactly(value: float) -> Measured:
    """A number without sampling noise."""
    return Measured(float(value))


def mean_of(values: ArrayLike) -> Measured:
    """Mean over independent repetitions with Student's 95 % interval."""
    mean, half, _ = mean_interval(values)
    return Measured(float(mean), float(mean - half), float(mean + half))


def share_of(count: int, total: int) -> Measured:
    """A share with Wilson's 95 % interval, which stays inside [0, 1]."""
    share, z = count / total, NORMAL_95
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return Measured(share, middle - half, middle + half)


def absolute(target: float, distance: float, why: str) -> Tolerance:
    """Within `distance` of the target."""
    return Tolerance(target - distance, target + distance, why)


def relative(target: float, share: float, why: str) -> Tolerance:
    """Within a share of the target."""
    return absolute(target, abs(target) * share, why)


def between(low: float, high: float, why: str) -> Tolerance:
    return Tolerance(low, high, why)


def at_most(high: float, why: str) -> Tolerance:
    return Tolerance(-inf, high, why)


def at_least(low: float, why: str) -> Tolerance:
    return Tolerance(low, inf, why)


def number(value: float) -> str:
    """A number as the CSV holds it: reading it back gives the same float; empty where it does not apply."""
    return "" if isnan(value) else repr(float(value))
