"""Train a user's model with several seeds, judge it, and write the tables that `run` writes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gradlab import data
from gradlab.base import atomic
from gradlab.base.errors import Problem, UserError
from gradlab.base.identity import identity_of
from gradlab.base.lock import Held, Lock
from gradlab.config import Request, to_toml
from gradlab.config.bound import bind_recording, bind_training, collect
from gradlab.config.plan import device_of
from gradlab.lab.interrupt import Interrupt, Interrupted
from gradlab.lab.summary_builder import OPTIONAL
from gradlab.lab.watch.keys import without_meaning
from gradlab.lab.watch.source import named
from gradlab.lab.watch.training import Job, Watched, train
from gradlab.report import saved
from gradlab.tables.schema import SCHEMA_VERSION
from gradlab.tables.table import Table, join, repeated, write_csv

if TYPE_CHECKING:
    import pandas as pd

LOCK, MANIFEST = ".lock", "manifest.json"


@dataclass(frozen=True)
class Outcome:
    """What a watched training left behind: the tables as frames, the cell columns first. Its one cell never fails
    alone: an error ends the command."""

    out: Path
    files: tuple[Path, ...]
    layers: pd.DataFrame
    steps: pd.DataFrame
    summary: pd.DataFrame
    cached: bool = False
    failed: tuple[Any, ...] = ()


def watch(
    model: str, request: Request, batches: str = "", say: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Train `model` (`package.module:Attr`) as the request says and write its results folder.

    batches: `package.module:Attr` of the user's own batches; the request's data set when empty.
    After Ctrl-C the step is finished and what is recorded is written, marked as unfinished; the same request starts
    again then. Raises Interrupted after that, and UserError with every problem, also when the folder holds something
    else.
    """
    config = request.base
    problems: list[Problem] = []
    made = collect(problems, lambda: named(model, "MODEL"))
    own = collect(problems, lambda: named(batches, "--batches")) if batches else None
    problems += without_meaning(request, bool(batches))
    recording = collect(problems, lambda: bind_recording(config.recording, request.where))
    if config.recording.record == "off":
        where = request.where("recording.record")
        problems.append(Problem(where, "without records what was watched would be lost", "log, all, every:N"))
    taught = collect(problems, lambda: bind_training(config.training, request.where))
    device = device_of(config.run.device, request, problems)
    dataset = digest = None
    if not batches:
        where = request.where("data.name")
        dataset = collect(problems, lambda: data.load(config.data.name, config.data.target, where))
        digest = None if dataset is None else dataset.digest
    if problems:
        raise UserError(problems)
    training = taught.section
    identity = [
        *((s.text, s.source) for s in (made, own, *taught.own.values()) if s is not None),
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
    if _finished(out, folder_id, config.run.force):
        found = saved.load(out)
        return Outcome(out, found.files, found.layers, found.steps, found.summary, cached=True)
    job = Job(
        model=made, dataset=dataset, batches=own, training=taught,
        recording=recording, dtype=getattr(torch, config.run.dtype), device=device,
    )  # fmt: skip
    started, done = perf_counter(), list[Watched]()
    with _alone(out), Interrupt() as interrupt:
        for seed in seeds:
            if not (done and interrupt.asked):
                done.append(train(job, seed, lambda: interrupt.asked))
                stopped = done[-1].stopped
                say(f"seed {seed}: {training.steps if stopped is None else stopped + 1} steps")
        columns = _cell_columns(
            cell, model, config.data.name if dataset is not None else batches, training, done
        )
        whole = len(done) == len(seeds) and done[-1].stopped is None
        outcome = _write(out, folder_id, columns, done, dataset, request, perf_counter() - started, whole)
        if not whole:
            say(
                f"interrupted with seed {seeds[len(done) - 1]} of {seeds[0]} to {seeds[-1]}: what was recorded until "
                f"then is in {out}; the same command starts again"
            )
            raise Interrupted
        return outcome


def _cell_columns(cell: str, model: str, source: str, training: Any, done: list[Watched]) -> dict[str, Any]:
    """The cell columns of a user's model: `own` where a column describes gradlab's nets."""
    layers = done[0].layers.columns
    fan_out = layers["fan_out"][np.isfinite(layers["fan_out"].astype(float))] if len(done[0].layers) else []
    return {
        "cell": cell,
        "activation": model,
        "depth": int(layers["layer"].max()) - 1 if len(done[0].layers) else 0,
        "width": int(max(fan_out)) if len(fan_out) else 0,
        "init": "own",
        "norm": "own",
        "residual": "own",
        "optimizer": training.optimizer,
        "lr": training.lr,
        "dataset": source,
    }


def _write(
    out: Path, folder_id: str, cell: dict[str, Any], done: list[Watched], dataset: data.Dataset | None,
    request: Request, seconds: float, whole: bool,
) -> Outcome:  # fmt: skip
    """whole: whether every seed went through; else the manifest names the step in which the last one stopped."""
    from gradlab.analyse import summarise

    layers, steps = (
        join([Table({**repeated(cell, len(t)), **t.columns}, t.applies) for t in tables])
        for tables in ([w.layers for w in done], [w.steps for w in done])
    )
    chance = None if dataset is None else dataset.chance
    summary = summarise(layers.frame(), steps.frame(), [*cell], chance) if len(layers) else None
    about = {"gradlab": "watch", "schema": SCHEMA_VERSION, "watch": folder_id}
    # Killed before the last file is there, the folder is one that the same command may fill.
    _write_manifest(out, {**about, "finished": False})
    tables = {"layers.csv": layers, "steps.csv": steps}
    if summary is not None:
        row = repeated(summary.iloc[0].to_dict(), 1)
        empty = OPTIONAL | {name for name in row if name.endswith("_ci95")}
        if dataset is None:
            empty |= {"val_accuracy_mean"}
        applies = {
            name: np.array([not (name in empty and np.isnan(float(values[0])))]) for name, values in row.items()
            if name in empty
        }  # fmt: skip
        tables["summary.csv"] = Table(row, applies)
    for name, table in tables.items():
        write_csv(out / name, [table])
    atomic.write_text(out / "config.toml", to_toml(request.base, request.grid))
    names = [*tables, "config.toml"]
    manifest = {
        **about,
        "argv": sys.argv,
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "timings": {
            "seconds": seconds,
            "recording_overhead": 1 + sum(each.overhead for each in done) / len(done),
        },
        "chance": {} if chance is None else {cell["cell"]: chance},
        "failed": [],
        "finished": whole,
        **({} if whole else {"interrupted": {"seeds": len(done), "last_step": done[-1].stopped}}),
        "sha256": {name: sha256((out / name).read_bytes()).hexdigest() for name in names},
    }
    _write_manifest(out, manifest)
    found = saved.load(out)
    return Outcome(
        out, tuple(out / name for name in [*names, MANIFEST]), found.layers, found.steps, found.summary
    )


def _write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    atomic.write_text(out / MANIFEST, json.dumps(manifest, indent=1) + "\n")


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """The folder, made and locked: what cannot be written is known before the training. A folder that was made for
    nothing goes again. Raises UserError while another process writes there."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    try:
        lock = Lock(out / LOCK)
    except Held as error:
        message, hint = (
            f"another gradlab writes there: {error.holder}",
            "wait until it ends, or choose another --out",
        )
        raise UserError(Problem(f"--out {out}", message, hint=hint)) from None
    try:
        yield
    finally:
        with suppress(OSError):
            if [each.name for each in out.iterdir()] == [LOCK]:
                (out / LOCK).unlink()
            for folder in made:
                folder.rmdir()
        lock.release()


def _finished(out: Path, folder_id: str, force: bool) -> bool:
    """Whether the folder holds just this, finished. Raises UserError when it holds something else, unless forced.

    What an interrupted training left there is replaced.
    """
    empty = out.is_dir() and all(each.name == LOCK for each in out.iterdir())
    if not out.exists() or empty or force:
        return False
    try:
        found = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    if isinstance(found, dict) and found.get("watch") == folder_id:
        return bool(found.get("finished"))
    hint = "--force replaces what is there"
    raise UserError(Problem(f"--out {out}", "it holds something else", "an empty or new folder", hint))
