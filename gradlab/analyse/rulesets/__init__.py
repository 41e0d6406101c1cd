"""Published detectors on gradlab's records, with their own thresholds, each of one seed; agreement is counted."""

from __future__ import annotations

from gradlab.analyse import thresholds as at
from gradlab.analyse.findings import Diagnosis, Finding
from gradlab.analyse.records import Records
from gradlab.analyse.rulesets import autotrainer, deepchecker, smdebug
from gradlab.analyse.rulesets.common import Hit, NotApplicable, Rule

PUBLISHED = {"smdebug": smdebug.RULES, "autotrainer": autotrainer.RULES, "deepchecker": deepchecker.RULES}


def judge_published(records: Records, ruleset: str) -> Diagnosis:
    """What a published ruleset says about a cell. A rule fires where it would at any record of the run."""
    seeds = range(len(records.seeds))
    missing: list[str] = []
    hits: dict[str, dict[int, Hit]] = {}
    for rule in PUBLISHED[ruleset]:
        for seed in seeds:
            answer = rule.check(records, seed)
            if isinstance(answer, NotApplicable):
                missing += [f"{rule.name}: {answer.reason}"] if seed == 0 else []
            elif answer is not None and not (ruleset == "autotrainer" and _decided(hits, rule.name, seed)):
                hits.setdefault(rule.name, {})[seed] = answer
    findings = [_finding(records, rule, hits[rule.name]) for rule in PUBLISHED[ruleset] if rule.name in hits]
    holding = tuple(finding for finding in findings if finding.agree >= at.MAJORITY * len(seeds))
    return Diagnosis(
        cell=records.cell,
        ruleset=ruleset,
        seeds=len(seeds),
        findings=holding,
        minority=tuple(finding for finding in findings if finding not in holding),
        not_applicable=tuple(missing),
    )


def _decided(hits: dict[str, dict[int, Hit]], name: str, seed: int) -> bool:
    """Whether an earlier one of AutoTrainer's exclusive rules has fired for this seed."""
    exclusive = autotrainer.EXCLUSIVE
    return name in exclusive and any(
        seed in hits.get(other, {}) for other in exclusive[: exclusive.index(name)]
    )


def _finding(records: Records, rule: Rule, hits: dict[int, Hit]) -> Finding:
    first = min(hits.values(), key=lambda hit: hit.record)
    names = (*records.names, "output")
    numbers = (*(int(n) for n in records.layers), int(records.layers[-1]) + 1)
    return Finding(
        verdict=rule.verdict,
        rule=rule.name,
        agree=len(hits),
        seeds=len(records.seeds),
        which=tuple(int(records.seeds[i]) for i in hits),
        at_birth=first.record == 0,
        step=int(records.steps[first.record]),
        layer=None if first.layer is None else numbers[first.layer],
        name=None if first.layer is None else names[first.layer],
        evidence=f"{first.evidence}; in {len(hits)} of {len(records.seeds)} seeds",
    )
