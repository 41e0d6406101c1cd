"""What a ruleset is: one entry, in a file of its own in `gradlab/analyse/rulesets`; and how published rules judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gradlab.analyse.findings import Diagnosis, Finding, by_majority
from gradlab.analyse.records import Records
from gradlab.analyse.rule import Chance
from gradlab.base.grammar import Parameter

OTHER = "other"
"""What a published rule finds that is none of gradlab's verdicts."""


@dataclass(frozen=True, kw_only=True)
class Ruleset:
    """order: where it stands beside the others; rules: what it looks for, in words; judge: what it says of a cell."""

    name: str
    order: int
    summary: str
    rules: tuple[str, ...]
    judge: Callable[[Records, Chance], Diagnosis]

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return {}


class Hit(NamedTuple):
    """record, layer: indices of where the rule fires first (layer L is the readout, None is no layer); evidence."""

    record: int
    layer: int | None
    evidence: str


class NotApplicable(NamedTuple):
    """Why the records cannot express a rule."""

    reason: str


Answer = Hit | NotApplicable | None


class Rule(NamedTuple):
    """name: as published; verdict: the one of gradlab's verdicts it means, or OTHER; check(records, seed index)."""

    name: str
    verdict: str
    check: Callable[[Records, int], Answer]


def published(
    *, name: str, order: int, summary: str, rules: Sequence[Rule], exclusive: Sequence[str] = ()
) -> Ruleset:
    """A published detector, with its own thresholds: rules that each look at one seed; agreement is counted.

    A rule fires where it would at any record of the run.
    exclusive: rules of which only the first that fires is reported, of each seed
    """

    def judge(records: Records, chance: Chance) -> Diagnosis:
        seeds = range(len(records.seeds))
        missing: list[str] = []
        hits: dict[str, dict[int, Hit]] = {rule.name: {} for rule in rules}
        for rule in rules:
            before = exclusive[: exclusive.index(rule.name)] if rule.name in exclusive else ()
            for seed in seeds:
                answer = rule.check(records, seed)
                if isinstance(answer, NotApplicable):
                    missing += [f"{rule.name}: {answer.reason}"] if seed == 0 else []
                elif answer is not None and not any(seed in hits[other] for other in before):
                    hits[rule.name][seed] = answer
        holding, minority = by_majority(
            (_finding(records, rule, hits[rule.name]) for rule in rules if hits[rule.name]), len(seeds)
        )
        return Diagnosis(
            cell=records.cell,
            ruleset=name,
            seeds=len(seeds),
            findings=holding,
            minority=minority,
            not_applicable=tuple(missing),
        )

    described = tuple(f"{rule.name} ({rule.verdict})" for rule in rules)
    return Ruleset(name=name, order=order, summary=summary, rules=described, judge=judge)


def _finding(records: Records, rule: Rule, hits: Mapping[int, Hit]) -> Finding:
    first = min(hits.values(), key=lambda hit: hit.record)
    layer, name = records.place(first.layer)
    return Finding(
        verdict=rule.verdict,
        rule=rule.name,
        agree=len(hits),
        seeds=len(records.seeds),
        which=tuple(int(records.seeds[i]) for i in hits),
        at_birth=first.record == 0,
        step=int(records.steps[first.record]),
        layer=layer,
        name=name,
        evidence=f"{first.evidence}; in {len(hits)} of {len(records.seeds)} seeds",
    )
