"""One program trained, watched by `gradlab.Recorder`, and judged by every ruleset; the worker processes import it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.clinic import programs
from benchmarks.clinic.following import MECHANICAL, follow
from benchmarks.clinic.loop import PROBE_ROWS, made, probe_of, run, score
from benchmarks.clinic.program import Program, Setup
from gradlab import Recorder
from gradlab.analyse.cure import Cure
from gradlab.analyse.findings import GRADLAB
from gradlab.analyse.rulesets import RULESETS

SEEDS = (0, 1, 2)


def every() -> dict[str, Program]:
    """All programs by their names."""
    files = sorted(path.stem for path in Path(programs.__path__[0]).glob("*.py") if path.stem != "__init__")
    found = [
        program for file in files for program in import_module(f"benchmarks.clinic.programs.{file}").PROGRAMS
    ]
    by_name = {program.name: program for program in found}
    assert len(by_name) == len(found), "every program has its own name"
    return by_name


def part(name: str) -> str:
    """Half of the programs, by a hash of the name, are held back until the rules are final."""
    return "held" if int(sha256(name.encode()).hexdigest(), 16) % 2 else "chosen"


@dataclass
class Judged:
    """One form of one program: what each ruleset said with each seed.

    words: ruleset -> the verdicts of each seed; fired: ruleset -> of each seed the verdict and the published rule of
           every finding
    scores: how good each trained model is; text: the report of the first seed
    """

    name: str
    form: str
    words: dict[str, list[list[str]]] = field(default_factory=dict)
    fired: dict[str, list[list[tuple[str, str]]]] = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)
    text: str = ""


def judged(name: str, form: str, others: bool) -> Judged:
    """form: `faulty`, `mended` or `works`; others: whether the published rulesets judge it too. They get a record of
    every step, which some of their rules ask for; gradlab gets its usual schedule."""
    torch.set_num_threads(1)
    program, found = every()[name], Judged(name, form)
    for seed in SEEDS:
        setup = made(program, seed, form == "mended")
        recorder = watched(setup)
        found.scores.append(score(setup))
        if seed == SEEDS[0]:
            found.text = recorder.report()
        said = [recorder.diagnose()]
        if others:
            recorder = watched(made(program, seed, form == "mended"), "all")
            said += [recorder.diagnose(ruleset) for ruleset in RULESETS if ruleset != GRADLAB]
        for one in said:
            found.words.setdefault(one.ruleset, []).append([*one.verdicts])
            pairs = [(finding.verdict, finding.rule) for finding in one.findings]
            found.fired.setdefault(one.ruleset, []).append(pairs)
    return found


def watched(setup: Setup, schedule: str = "log") -> Recorder:
    """The setup trained, with the recorder that watched it."""
    targets = setup.targets
    if targets is None and setup.y is not None:
        targets = setup.y[:PROBE_ROWS]
    known = {} if setup.criterion is None else {"targets": targets, "criterion": setup.criterion}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorder = Recorder(
            setup.model,
            probe_of(setup),
            schedule,
            steps=setup.steps,
            metrics="full",
            accumulation=setup.accumulation,
            loss_reduction=setup.loss_reduction,
            **known,
        )
        with recorder:
            run(setup, recorder)
    return recorder


ROUNDS = 3
"""How often what the diagnosis says is done and looked at again."""


@dataclass
class Followed:
    """What became of a program that did as it was told: of each seed, the cures and the score after each."""

    name: str
    cures: list[list[str]] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)


def followed(name: str) -> Followed:
    """The faulty form, changed by the first cure that a script can do, trained and judged again, up to ROUNDS times."""
    torch.set_num_threads(1)
    program, found = every()[name], Followed(name)
    for seed in SEEDS:
        done: list[Cure] = []
        scores: list[float] = []
        recorder = watched(made(program, seed))
        while len(done) < ROUNDS:
            cures = [cure for cure in recorder.diagnose().cures if cure.do in MECHANICAL and cure not in done]
            if not cures:
                break
            done.append(cures[0])
            setup = made(program, seed)
            try:
                for cure in done:
                    follow(setup, cure)
                recorder = watched(setup)
                scores.append(score(setup))
            except Exception as error:  # a program takes not everything that can be said
                scores.append(float("nan"))
                done[-1] = replace(done[-1], code=f"{type(error).__name__}: {error}")
                break
        found.cures.append([f"{cure.do} {cure.to}".strip() for cure in done])
        found.scores.append(scores)
    return found
