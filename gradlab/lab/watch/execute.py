"""Train a user's model with several seeds, judge it, and write the tables that `run` writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from gradlab.base.errors import UserError
from gradlab.config import Request, to_toml
from gradlab.lab.interrupt import Interrupt, Interrupted
from gradlab.lab.watch.live import Live, Screen
from gradlab.lab.watch.plan import Planned, plan
from gradlab.lab.watch.training import Job, Watched, train
from gradlab.recorder.saving import cell_columns, size_of, write
from gradlab.store.folder import ResultsFolder
from gradlab.store.results import Results, read_folder


def watch(
    model: str,
    request: Request,
    batches: str = "",
    say: Callable[[str], None] = lambda _: None,
    screen: Screen | None = None,
) -> tuple[Planned, Results]:
    """Train `model` (`package.module:Attr`) as the request says and write its results folder.

    Gives back what was planned, and what came of it.
    batches: `package.module:Attr` of the user's own batches; the request's data set when empty.
    Raises UserError with every problem, also when the folder holds something else, and what `carry_out` raises.
    """
    planned, run = plan(model, request, batches), request.base.run
    folder = planned.folder(Path(run.out) if run.out else planned.usual_out, say, force=run.force)
    return planned, carry_out(planned, folder, say, screen)


def carry_out(
    planned: Planned, folder: ResultsFolder, say: Callable[[str], None], screen: Screen | None = None
) -> Results:
    """Do what is planned, and write it into the folder; what the folder already has of it is not trained again.

    screen: what shows the training while it goes on.
    After Ctrl-C the step is finished and what is recorded is written, marked as unfinished; the same plan starts again
    then. Raises Interrupted after that.
    """
    if folder.state() == "finished":
        return read_folder(folder.path)
    job, training = planned.job, planned.job.training.section
    try:
        folder.prepare()  # what cannot be written is known before the training
        try:
            columns = cell_columns(
                planned.cell,
                planned.model,
                training.optimizer,
                training.lr,
                planned.source,
                {"depth": 0, "width": 0},
            )
            chance = None if job.dataset is None else job.dataset.chance
            live = None if screen is None else Live(screen, columns, chance, [])
            if live is not None:
                live.start(f"{planned.model}, on {planned.source}", len(planned.seeds) * (training.steps + 1))
            _fill(folder, job, columns, planned.request, say, live)
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
        data=None if job.dataset is None else {cell["dataset"]: job.dataset.digest},
        config=to_toml(request.base, request.grid),
        interrupted=None if whole else {"seeds": len(done), "last_step": done[-1].stopped},
        prepared=job.prepared,
    )
