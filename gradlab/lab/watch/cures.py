"""Cures that are tried: train a user's sick model again, each time with a change that needs none of its code.

Every attempt is a training by `watch` with its own results folder, so that what is reported can be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from gradlab.analyse.cure import Cure
from gradlab.analyse.findings import Diagnosis
from gradlab.analyse.records import Records
from gradlab.analyse.records_from_tables import split_cells
from gradlab.analyse.results import diagnose_saved
from gradlab.analyse.seeds import Difference, difference_over_common
from gradlab.base.errors import ConfigError, DataError, Problem, UserError
from gradlab.config import Request
from gradlab.config.sections import Config
from gradlab.lab.changes import FOLDER, with_changes
from gradlab.lab.rounds import in_rounds
from gradlab.lab.watch import prepared
from gradlab.lab.watch.execute import carry_out
from gradlab.lab.watch.live import Screen
from gradlab.lab.watch.plan import Planned, plan
from gradlab.lab.watch.score import Measure, measure_of
from gradlab.store.folder import ResultsFolder
from gradlab.store.results import Results

MOST = 6
"""Attempts in all, at most."""

ROUNDS = 2
"""How many cures may be laid one on another."""


@dataclass(frozen=True)
class Setting:
    """What an attempt trains: a configuration, and what is done to model and batches before."""

    config: Config
    prepared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """One training with cures laid on the sick one, at most one of each kind.

    number: also the name of its folder `out`; diagnosis, records: of what was trained
    """

    number: int
    cures: tuple[Cure, ...]
    setting: Setting
    out: Path
    diagnosis: Diagnosis
    records: Records = field(repr=False)

    @property
    def good(self) -> bool:
        return self.diagnosis.healthy


@dataclass(frozen=True)
class Tried:
    """What was tried on one sick training.

    sick, setting, records: its diagnosis, what it was, and its records; batches: whether its data were the user's own
    batches; skipped: cures that could not be tried, each with the reason; interrupted: whether the user stopped it
    """

    sick: Diagnosis
    setting: Setting
    records: Records = field(repr=False)
    batches: bool
    attempts: tuple[Attempt, ...]
    skipped: tuple[tuple[Cure, str], ...]
    interrupted: bool = False

    @property
    def measure(self) -> Measure:
        """What all of them are compared by."""
        return measure_of([self.records, *(attempt.records for attempt in self.attempts)])

    @property
    def ranked(self) -> tuple[Attempt, ...]:
        """The best first: a healthy one, then by the measure."""
        return tuple(sorted(self.attempts, key=lambda each: worth(each, self.measure), reverse=True))

    @property
    def best(self) -> Attempt | None:
        return next(iter(self.ranked), None)

    def gain(self, attempt: Attempt) -> Difference | None:
        """The measure's paired difference to the sick training, after minus before, over the seeds that both have.

        None where the measure is a loss and the attempt has another criterion, or targets in other units.
        """
        if self.measure.is_loss and not _same_loss(attempt.setting, self.setting):
            return None
        return difference_over_common(self.measure.of(attempt.records), self.measure.of(self.records))


def worth(attempt: Attempt, measure: Measure) -> tuple[bool, float]:
    return attempt.good, measure.worth(attempt.records)


def try_cures(
    planned: Planned,
    results: Results,
    say: Callable[[str], None] = lambda _: None,
    screen: Screen | None = None,
) -> Tried | None:
    """Try the cures of a finished training, the likeliest first, on the same seeds, until one is healthy; None where it
    has no fault.

    planned: the training; results: what came of it, where the attempts go. A cure that cannot be tried is passed
    over with its reason. When no cure of a round is healthy, the next round starts from the best so far and the cures
    of its own diagnosis. After Ctrl-C what was found until then is given back, marked as interrupted. Raises
    GradlabError where an attempt cannot be written.
    """
    (sick,) = diagnose_saved(results)
    if not sick.findings:
        return None
    (records,) = split_cells(results.layers, results.steps)
    start = Setting(planned.request.base, planned.job.prepared)
    attempts: list[Attempt] = []
    skipped: list[tuple[Cure, str]] = []

    def of(setting: Setting, best: Attempt | None) -> Iterator[Cure]:
        diagnosis = sick if best is None else best.diagnosis
        return (cure for cure in diagnosis.cures if cure.mechanical)

    def changed(setting: Setting, cure: Cure) -> Setting | None:
        try:
            return with_cure(setting, cure, bool(planned.job.batches))
        except UserError as error:
            skipped.append((cure, error.problems[0].message))
            return None

    def attempt(setting: Setting, cure: Cure, number: int, onto: Attempt | None) -> Attempt | None:
        cures = (*(each for each in (onto.cures if onto else ()) if each.do != cure.do), cure)
        out = results.path / FOLDER / str(number)
        try:
            found = _train(setting, planned, out, lambda text: say(f"attempt {number}, {text}"), screen)
        except UserError as error:
            skipped.append((cure, str(error.problems[0])))
            return None
        (diagnosis,) = diagnose_saved(found)
        (of_it,) = split_cells(found.layers, found.steps)
        attempts.append(Attempt(number, cures, setting, out, diagnosis, of_it))
        return attempts[-1]

    def by(one: Attempt) -> tuple[bool, float]:
        return worth(one, measure_of([records, *(each.records for each in attempts)]))

    interrupted = False
    try:
        in_rounds(start, of, changed, attempt, by, most=MOST, rounds=ROUNDS)
    except KeyboardInterrupt:
        interrupted = True
    return Tried(
        sick, start, records, bool(planned.job.batches), tuple(attempts), tuple(skipped), interrupted
    )


def with_cure(setting: Setting, cure: Cure, batches: bool) -> Setting:
    """The setting with a cure followed. Raises ConfigError where it cannot be.

    batches: whether the data are the user's own batches; those of a data set are standardised when it is read
    """
    if cure.do in prepared.PREPARATIONS:
        if cure.standardises and not batches:
            raise ConfigError(
                Problem(cure.do, "a data set is standardised already, by its training rows", "--batches")
            )
        return replace(setting, prepared=prepared.in_order({*setting.prepared, cure.do}))
    training = setting.config.training
    changes: dict[str, dict[str, object]] = {
        "rate": {"training.lr": cure.to},
        "clip": {"training.clip": cure.to},
        "warm-up": {"training.schedule": f"{training.schedule.partition(':')[0]}:warmup={cure.to}"},
        "criterion": {"training.loss": f"torch.nn:{cure.to}"},
    }
    try:
        return replace(setting, config=with_changes(setting.config, changes[cure.do]))
    except ValidationError:
        raise ConfigError(Problem(cure.do, f"{cure.to} is out of range", "another cure")) from None


def named_in(results: Results, config: Config) -> list[str]:
    """The code that the tables of `watch` name: the model, and its batches where they were the user's own."""
    row = results.summary.iloc[0]
    return [str(row["activation"]), *([str(row["dataset"])] if row["dataset"] != config.data.name else [])]


def plan_again(results: Results, config: Config) -> Planned:
    """The training that a results folder of `watch` holds, from its configuration. Imports the model.

    Raises UserError where it cannot be imported, or is another by now.
    """
    row = results.summary.iloc[0]
    model, batches = [*named_in(results, config), ""][:2]
    done = prepared.in_order(results.manifest.get("prepared", []))
    places = (f"{results.path}: the model", f"{results.path}: the batches")
    planned = plan(model, Request(base=config, grid={}, provenance={}), batches, done, places)
    if planned.cell != str(row["cell"]):
        message = f"{model}, its data or gradlab are not what they were when it was trained"
        raise DataError(Problem(str(results.path), message, hint="train it again with gradlab watch"))
    return planned


def _train(
    setting: Setting, planned: Planned, out: Path, say: Callable[[str], None], screen: Screen | None
) -> Results:
    job = planned.job
    request = Request(base=setting.config, grid={}, provenance={})
    changed = plan(planned.model, request, job.batches.text if job.batches else "", setting.prepared)
    return carry_out(changed, _folder(changed, out, say), say, screen)


def _folder(planned: Planned, out: Path, say: Callable[[str], None]) -> ResultsFolder:
    """Continued where it holds the same attempt, and replaced where it holds another one."""
    folder = planned.folder(out, say, force=False)
    with suppress(UserError):
        folder.state()
        return folder
    return planned.folder(out, say, force=True)


def _same_loss(one: Setting, other: Setting) -> bool:
    standardised = (prepared.TARGETS in each.prepared for each in (one, other))
    return one.config.training.loss == other.config.training.loss and len({*standardised}) == 1
