"""What a ruleset says about a cell: findings, and the diagnosis they make up."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gradlab.analyse import thresholds as at
from gradlab.analyse.cure import Cure
from gradlab.analyse.verdict import HEALTHY, UNDECIDED

GRADLAB = "gradlab"
"""The ruleset that is gradlab's own: the one that has remedies, and the one to judge by where none is asked for."""


ALL_WELL = (HEALTHY.name,)
"""The verdicts on a healthy cell."""

NO_FAULT = (ALL_WELL, (UNDECIDED.name,))
"""The verdicts on a cell in which no fault was seen."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fault found in a cell.

    verdict:  what it is; one of `verdicts.VERDICTS`, "other", or a word of the user's own ruleset
    rule:     the name of the published rule or of the user's function, where one made it
    agree:    in how many of the `seeds` seeds it holds; which: those seeds
    at_birth: it is there at the first record (in most of the agreeing seeds); else it came with training. None where
              the records were judged as a whole
    step:     first step at which it shows, the earliest of the agreeing seeds; None where it has no step
    layer:    number of the first layer at which it shows in that seed, `name` its name; None where it has no layer
    evidence: the reason in words and numbers
    severity: what it does to the net: "stops learning", "slows learning", "stands out"; "" where nobody says
    where:    the recurrent layer in whose steps it shows; "" for a fault of layers
    path:     the branch or head along whose layers it shows; "" for a fault of the net's own path
    budget:   of a gradient that changes on its way down, the decades that each part loses (below 0) or gains: weights,
              slopes, norms, rest (skip connections, pooling ...), unknown; empty where nobody knows
    """

    verdict: str
    agree: int
    seeds: int
    which: tuple[int, ...]
    at_birth: bool | None
    step: int | None
    layer: int | None
    name: str | None
    evidence: str
    rule: str = ""
    severity: str = ""
    where: str = ""
    path: str = ""
    budget: Mapping[str, float] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """`at birth, from layer 10 (hidden_10)`, or `from step 200, ...`."""
        if self.at_birth is None:
            return "over all records"
        when = (
            "at birth" if self.at_birth else "at the end" if self.step is None else f"from step {self.step}"
        )
        if self.where:
            return f"{when}, through time in {self.where}"
        return when if self.layer is None else f"{when}, from layer {self.layer} ({self.name})"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What one ruleset says about one cell.

    findings:       the faults that hold in at least half of the seeds, first cause first; of three or more seeds that
                    disagree also `unstable`, in however few
    minority:       those that hold in fewer
    notes:          what else is worth knowing: the numbers of a healthy net, a single seed, a fault that was outgrown
    not_applicable: rules that these records cannot express
    advice:         what to try first, one sentence; empty for a healthy cell
    cures:          what to change in a training of one's own, the likeliest first; none for gradlab's nets
    recorded:       whether any layer was recorded; of one that was not, nobody can say that it is healthy
    undecided:      why nobody can say whether it learns, where that is so: then it is not called healthy either
    """

    cell: Mapping[str, object]
    ruleset: str
    seeds: int
    findings: tuple[Finding, ...]
    minority: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    not_applicable: tuple[str, ...] = ()
    advice: str = ""
    cures: tuple[Cure, ...] = ()
    recorded: bool = True
    undecided: str = ""

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Every verdict once, first cause first; ("healthy",) or ("undecided",) when none holds, () when none could."""
        found = tuple(dict.fromkeys(finding.verdict for finding in self.findings))
        well = (UNDECIDED.name,) if self.undecided else ALL_WELL
        return found or (well if self.recorded else ())

    @property
    def healthy(self) -> bool:
        return self.recorded and not self.findings and not self.undecided

    @property
    def seeds_text(self) -> str:
        """In how many seeds each verdict holds, `3/3,2/3`; for a healthy cell the seeds without any finding."""
        if not self.verdicts:
            return ""
        if not self.findings:
            sick = {seed for finding in self.minority for seed in finding.which}
            return f"{self.seeds - len(sick)}/{self.seeds}"
        agree: dict[str, int] = {}
        for finding in self.findings:
            agree[finding.verdict] = max(agree.get(finding.verdict, 0), finding.agree)
        return ",".join(f"{count}/{self.seeds}" for count in agree.values())

    def as_dict(self) -> dict[str, object]:
        """Plain values, ready for JSON."""
        return {
            "cell": {key: _plain(value) for key, value in self.cell.items()},
            "ruleset": self.ruleset,
            "seeds": self.seeds,
            "verdicts": list(self.verdicts),
            "verdict_seeds": self.seeds_text,
            "findings": [_finding(finding) for finding in self.findings],
            "minority": [_finding(finding) for finding in self.minority],
            "notes": list(self.notes),
            "not_applicable": list(self.not_applicable),
            "undecided": self.undecided,
            "advice": self.advice,
            "cures": [vars(cure) for cure in self.cures],
        }


def seeds_once(verdicts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Verdicts with the seeds they hold in; where these are the same for all, they stand behind the last one alone."""
    found = list(verdicts)
    if len({seeds for _, seeds in found}) > 1:
        return found
    return [(name, seeds if nth == len(found) else "") for nth, (name, seeds) in enumerate(found, start=1)]


def verdicts_text(verdicts: Sequence[str], seeds: str) -> str:
    """`vanishing, not-learning (3/3 seeds)`, or `vanishing (2/3 seeds), not-learning (3/3 seeds)`.

    seeds: as `seeds_text` gives them, one for each verdict behind a comma
    """
    pairs = seeds_once(zip(verdicts, seeds.split(","), strict=False))
    return ", ".join(f"{verdict} ({count} seeds)" if count else verdict for verdict, count in pairs)


def by_majority(
    findings: Iterable[Finding], seeds: int, of_few: Collection[str] = ()
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """The findings that hold in enough of the seeds to be the cell's, and the others.

    of_few: verdicts that are the cell's in however few of at.SEVERAL seeds or more
    """
    every = tuple(findings)
    several = seeds >= at.SEVERAL
    holding = tuple(
        finding
        for finding in every
        if finding.agree >= at.MAJORITY * seeds or (several and finding.verdict in of_few)
    )
    return holding, tuple(finding for finding in every if finding not in holding)


def _finding(finding: Finding) -> dict[str, object]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(finding).items()}


def _plain(value: object) -> object:
    """A NumPy scalar as Python's own; nan and infinities as None."""
    item = value.item() if hasattr(value, "item") else value
    return None if isinstance(item, float) and not abs(item) < float("inf") else item
