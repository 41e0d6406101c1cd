"""Train a user's model with several seeds, judge it, and write the tables that `run` writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from gradlab import data
from gradlab.base.errors import Problem, UserError, attempt
from gradlab.base.identity import identity_of
from gradlab.config import Request, to_toml
from gradlab.config.bound import bind_recording, bind_training
from gradlab.config.plan import RECIPE, device_of
from gradlab.lab.interrupt import Interrupt, Interrupted
from gradlab.lab.watch.keys import without_meaning
from gradlab.lab.watch.live import Live, Screen
from gradlab.lab.watch.source import named
from gradlab.lab.watch.training import Job, Watched, train
from gradlab.recorder.saving import cell_columns, size_of, write
from gradlab.store.folder import Claim, ResultsFolder
from gradlab.store.results import Results, read_folder


def watch(
    model: str,
    request: Request,
    batches: str = "",
    say: Callable[[str], None] = lambda _: None,
    screen: Screen | None = None,
) -> Results:
    """Train `model` (`package.module:Attr`) as the request says and write its results folder.

    batches: `package.module:Attr` of the user's own batches; the request's data set when empty.
    screen: what shows the training while it goes on.
    After Ctrl-C the step is finished and what is recorded is written, marked as unfinished; the same request starts
    again then. Raises Interrupted after that, and UserError with every problem, also when the folder holds something
    else.
    """
    config = request.base
    problems: list[Problem] = []
    made = attempt(problems, lambda: named(model, "MODEL"))
    own = attempt(problems, lambda: named(batches, "--batches")) if batches else None
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
        named_data = (config.data.name, config.data.target, where, config.data.task)
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
    ]
    cell = identity_of(identity)
    seeds = range(config.run.first_seed, config.run.first_seed + config.run.seeds)
    folder_id = identity_of([cell, [*seeds], config.recording.differing()])
    slug = model.rpartition(":")[2].lower()
    out = Path(config.run.out) if config.run.out else Path.cwd() / "results" / f"watch-{slug}-{folder_id}"
    folder = ResultsFolder(Claim(folder_id, (cell,), tuple(seeds), config.recording, config.run, out), say)
    if folder.state() == "finished":
        return read_folder(folder.path)
    job = Job(
        model=made, dataset=dataset, batches=own, training=taught,
        recording=recording, dtype=getattr(torch, config.run.dtype), device=device,
        task=config.data.task, where=request.where,
    )  # fmt: skip
    source = config.data.name if dataset is not None else batches
    try:
        folder.prepare()  # what cannot be written is known before the training
        try:
            columns = cell_columns(
                cell, model, training.optimizer, training.lr, source, {"depth": 0, "width": 0}
            )
            live = (
                None
                if screen is None
                else Live(screen, columns, None if dataset is None else dataset.chance, [])
            )
            if live is not None:
                live.start(f"{model}, on {source}", len(seeds) * (training.steps + 1))
            _fill(folder, job, columns, request, say, live)
        except UserError:  # what the user's model or batches did wrong
            folder.forget()
            raise
    finally:
        folder.close()
    found = read_folder(folder.path)
    found.cached = False
    return found


def _fill(
    folder: ResultsFolder,
    job: Job,
    columns: dict[str, Any],
    request: Request,
    say: Callable[[str], None],
    live: Live | None,
) -> None:
    """Train every seed and write the tables. Raises Interrupted where the user stopped it, after writing."""
    started, seeds = perf_counter(), folder.claim.seeds
    with Interrupt() as interrupt:
        done = _train(job, seeds, interrupt, say, live)
        _write(folder, columns | size_of(done[0].layers), done, job, request, started)
        if not _whole(done, seeds):
            say(
                f"interrupted with seed {seeds[len(done) - 1]} of {seeds[0]} to {seeds[-1]}: what was recorded "
                f"until then is in {folder.path}; the same command starts again"
            )
            raise Interrupted


def _train(
    job: Job, seeds: Sequence[int], interrupt: Interrupt, say: Callable[[str], None], live: Live | None
) -> list[Watched]:
    """One seed after another, until the user asks to stop; the first one has a record in any case."""
    done: list[Watched] = []
    for seed in seeds:
        if not (done and interrupt.asked):
            done.append(train(job, seed, lambda: interrupt.asked, live))
            if live is not None:
                live.finished.append((done[-1].layers, done[-1].steps))
                live.forget()
            stopped = done[-1].stopped
            say(f"seed {seed}: {job.training.section.steps if stopped is None else stopped + 1} steps")
    return done


def _whole(done: Sequence[Watched], seeds: Sequence[int]) -> bool:
    """Whether every seed went through."""
    return len(done) == len(seeds) and done[-1].stopped is None


def _write(
    folder: ResultsFolder,
    cell: dict[str, Any],
    done: list[Watched],
    job: Job,
    request: Request,
    started: float,
) -> None:
    """What was recorded, with the step in which the user stopped, if so."""
    whole = _whole(done, folder.claim.seeds)
    write(
        folder,
        cell,
        [(each.layers, each.steps) for each in done],
        devices={job.device},
        timings={
            "seconds": perf_counter() - started,
            "recording_overhead": 1 + sum(each.overhead for each in done) / len(done),
        },
        chance=None if job.dataset is None else job.dataset.chance,
        config=to_toml(request.base, request.grid),
        interrupted=None if whole else {"seeds": len(done), "last_step": done[-1].stopped},
    )
