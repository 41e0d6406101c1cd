"""A training of a user's model, checked and identified before it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from gradlab import data
from gradlab.base.errors import Problem, UserError, attempt
from gradlab.base.identity import identity_of
from gradlab.base.places import working_directory
from gradlab.config import Request
from gradlab.config.bound import bind_recording, bind_training
from gradlab.config.plan import RECIPE, device_of
from gradlab.lab.watch.keys import without_meaning
from gradlab.lab.watch.source import named
from gradlab.lab.watch.training import Job
from gradlab.store.folder import Claim, ResultsFolder


@dataclass(frozen=True)
class Planned:
    """model, source: as the user named the model, and its data set or batches; cell, id: of the cell, and of what a
    results folder of it holds; job: what is done for each of the seeds"""

    model: str
    source: str
    request: Request
    job: Job
    cell: str
    id: str
    seeds: tuple[int, ...]

    def folder(self, out: Path, say: Callable[[str], None], *, force: bool) -> ResultsFolder:
        run = self.request.base.run.model_copy(update={"force": force})
        return ResultsFolder(
            Claim(self.id, (self.cell,), self.seeds, self.request.base.recording, run, out), say
        )

    @property
    def usual_out(self) -> Path:
        """Where the results go, where the request does not say."""
        return working_directory() / "results" / f"watch-{self.model.rpartition(':')[2].lower()}-{self.id}"


def plan(
    model: str,
    request: Request,
    batches: str = "",
    prepared: tuple[str, ...] = (),
    places: tuple[str, str] = ("MODEL", "--batches"),
) -> Planned:
    """Import `model` and `batches` (`package.module:Attr`) and check them with the request.

    batches:  the user's own; the request's data set when empty
    prepared: what is done to model and batches before the training
    places:   how an error names where the two names were given. Raises UserError with every problem.
    """
    config = request.base
    problems: list[Problem] = []
    made = attempt(problems, lambda: named(model, places[0]))
    own = attempt(problems, lambda: named(batches, places[1])) if batches else None
    problems += without_meaning(request, bool(batches))
    recording = attempt(problems, lambda: bind_recording(config.recording, request.where))
    if config.recording.record == "off":
        where = request.where("recording.record")
        problems.append(Problem(where, "without records what was watched would be lost", "log, all, every:N"))
    taught = attempt(problems, lambda: bind_training(config.training, request.where))
    device = device_of(config.run.device, request, problems)
    dataset = digest = None
    if not batches:
        where = request.where("data.name")
        named_data = (config.data.name, config.data.target, where, config.data.task, config.data.csv)
        dataset = attempt(problems, lambda: data.load(*named_data))
        digest = None if dataset is None else dataset.digest
    if taught and dataset:
        attempt(problems, lambda: taught.loss.check_task(dataset, request.where("training.loss")))
    if problems:
        raise UserError(problems)
    training = taught.section
    identity = [
        RECIPE,
        *([config.data.task] if batches and config.data.task != data.AUTO else []),
        *(
            (s.text, s.source)
            for s in (made, own, *taught.own.values(), *recording.own.values())
            if s is not None
        ),
        digest,
        training.differing(),
        config.run.dtype,
        device,
        *([[*prepared]] if prepared else []),
    ]
    cell = identity_of(identity)
    seeds = tuple(range(config.run.first_seed, config.run.first_seed + config.run.seeds))
    job = Job(
        model=made, dataset=dataset, batches=own, training=taught,
        recording=recording, dtype=getattr(torch, config.run.dtype), device=device,
        task=config.data.task, where=request.where, prepared=prepared,
    )  # fmt: skip
    return Planned(
        model=model,
        source=config.data.name if dataset is not None else batches,
        request=request,
        job=job,
        cell=cell,
        id=identity_of([cell, [*seeds], config.recording.differing()]),
        seeds=seeds,
    )
