"""The training of a user's model with one seed: the loop of `run`, watched by `gradlab.Recorder`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.base import generators
from gradlab.base.errors import ConfigError, Problem
from gradlab.base.own import Own, users_code
from gradlab.config.bound import BoundRecording, BoundTraining, Where, flag_of
from gradlab.data import Dataset
from gradlab.data.dataset import AUTO
from gradlab.data.part import validation_part
from gradlab.lab.watch import prepared
from gradlab.lab.watch.criterion import Objective
from gradlab.lab.watch.live import Live
from gradlab.lab.watch.source import Batch, batches_of, make_model, moved, one_pass, sizes_of
from gradlab.nn.explained import Explained
from gradlab.recorder.evaluation import evaluation
from gradlab.recorder.recorder import Recorder
from gradlab.recorder.saving import RecordTables
from gradlab.recorder.unit_variance import unit_variance
from gradlab.recorder.units import call, tensors
from gradlab.tables.steps import STEPS
from gradlab.train import EVALUATION_ROWS
from gradlab.train.batches import BatchStream
from gradlab.train.loop import targets_tensor


@dataclass(frozen=True)
class Watched:
    """What one seed left behind. overhead: the recorder's own share of the time;
    stopped: the step after which the user stopped it, None where it went through."""

    tables: RecordTables
    overhead: float
    stopped: int | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train: the model, its data (a data set, or the user's batches), and how.

    task:     what the targets of the user's batches are; of a data set it is the data set's
    where:    how an error names the place of a key
    prepared: what is done to the model and to the user's batches before (`gradlab.lab.watch.prepared`)
    """

    model: Own
    dataset: Dataset | None
    batches: Own | None
    training: BoundTraining
    recording: BoundRecording
    dtype: torch.dtype
    device: str
    task: str = AUTO
    where: Where = flag_of
    prepared: tuple[str, ...] = ()


def train(
    job: Job, seed: int, asked: Callable[[], bool] = lambda: False, live: Live | None = None
) -> Watched:
    """Train and record with one seed. Torch's global generators are seeded with it and restored afterwards.

    asked: whether to stop after the step that is going on; live: what shows it meanwhile. Raises ConfigError for
    whatever the user's model, batches or optimiser cannot do.
    """
    with generators.seeded(seed, job.device):
        return _Loop(job, seed).run(asked, live)


class _Loop:
    def __init__(self, job: Job, seed: int) -> None:
        self.job, self.seed, training = job, seed, job.training.section
        dataset = job.dataset
        model = make_model(job.model, {} if dataset is None else sizes_of(dataset, job.training.loss))
        with _users(f"{job.model.text} failed to go to {job.device} as {job.dtype}"):
            self.model = model.to(job.device, job.dtype)
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            raise ConfigError(
                Problem("MODEL", f"{job.model.text} has no parameter that can learn", "one or more")
            )
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = job.training.optimizer.for_model(parameters, training.lr)
        task = job.task if dataset is None else dataset.task
        self.objective = Objective(job.training.loss, task, job.where)
        self.rate = job.training.rate
        self.batches, probe, targets = self._data()
        if prepared.WEIGHTS in job.prepared:
            self._draw_weights(probe)
        self.recorder = Recorder(
            self.model,
            probe=probe,
            targets=targets,
            criterion=_Criterion(self.objective),
            schedule=job.recording.section.record,
            steps=training.steps + 1,
            metrics=job.recording.section.metrics,
            seeds=(seed,),
        )

    def run(self, asked: Callable[[], bool], live: Live | None = None) -> Watched:
        last, stopped = self.job.training.section.steps, None
        data = self.job.dataset
        given = f", given {data.features} inputs a sample by {data.name}," if data is not None else ""
        with self.recorder:
            for step in range(last + 1):
                if step and asked():
                    stopped = step - 1
                    break
                with _users(f"{self.job.model.text}{given} failed on a batch (step {step})"):
                    self._step(step, last)
                if live is not None:
                    done = len(live.finished) * (last + 1) + step + 1
                    live.after_step(done, step, self.model, self._newest, self._tables)
        tables = self._tables()
        layers = tables.layers
        if len(layers) and layers.columns["layer"].max() < 2:
            hint = "gradlab.Recorder records it in a loop of your own"
            message = f"{self.job.model.text} has one layer with parameters"
            raise ConfigError(Problem("MODEL", message, "two or more: a verdict compares layers", hint))
        return Watched(tables, self.recorder.overhead, stopped)

    def _step(self, step: int, last: int) -> None:
        """One step; the one after the last update is recorded without another."""
        inputs, targets = next(self.batches)
        self.optimizer.zero_grad()
        if recorded := self.recorder.recording:
            self.recorder.add(**self._evaluate(whole=step == last))
        outputs = self._outputs(inputs)
        loss = self.objective.loss(outputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        if recorded:
            if (accuracy := self.objective.accuracy(outputs.detach(), targets)) is not None:
                self.recorder.add(train_accuracy=accuracy)
            if step < last:
                self.recorder.add(learning_rate=self.rate(step))
        self.recorder.step(optimizer=self.optimizer if step < last else None, loss=loss)
        if limit := self.job.training.section.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        if step < last:
            self.job.training.optimizer.step_model(self.optimizer, self.rate(step))

    def _data(self) -> tuple[Iterator[Batch], Any, Tensor]:
        """The batches, endlessly; the probe and its targets: the first training rows, or the user's first batch."""
        job = self.job
        if job.dataset is None:
            assert job.batches is not None
            inputs_of, targets_of = self._changes()

            def changed(batch: Batch) -> Batch:
                inputs, targets = moved(batch, job.device, job.dtype)
                return inputs_of(inputs), targets_of(targets)

            probe, of_probe = changed(next(batches_of(job.batches, self.seed)))
            return map(changed, batches_of(job.batches, self.seed)), probe, of_probe
        x = torch.as_tensor(job.dataset.x_train).to(job.device, job.dtype)
        y = targets_tensor(job.dataset.y_train, job.device, job.dtype)
        rows = slice(job.recording.probe.of(job.dataset.features))
        return self._stream(x, y), x[rows], y[rows]

    def _changes(self) -> tuple[prepared.Change, prepared.Change]:
        """What is done to the inputs and to the targets of each of the user's batches."""
        job, nothing = self.job, lambda value: value
        if not {prepared.INPUTS, prepared.TARGETS} & {*job.prepared}:
            return nothing, nothing
        assert job.batches is not None
        with generators.kept(job.device):  # the training draws what it would have drawn
            first = [*islice(one_pass(job.batches, self.seed), prepared.FIRST_BATCHES)]
        if not first:
            raise ConfigError(Problem("--batches", f"{job.batches.text} gave no batch", "one batch or more"))
        inputs, targets = zip(*(moved(batch, job.device, job.dtype) for batch in first), strict=True)
        of_inputs = prepared.standardiser(inputs, "inputs") if prepared.INPUTS in job.prepared else nothing
        if prepared.TARGETS not in job.prepared:
            return of_inputs, nothing
        if not (job.task == "regression" or (job.task == AUTO and targets[0].is_floating_point())):
            raise ConfigError(
                Problem("targets", "they are no numbers to predict, and have no scale", "floating targets")
            )
        standardised = prepared.standardiser([each.to(job.dtype) for each in targets], "targets")
        return of_inputs, lambda value: standardised(value.to(job.dtype))

    def _draw_weights(self, probe: Any) -> None:
        """Weights drawn anew so that each layer's outputs have variance 1 on the probe."""
        with (
            _users(f"{self.job.model.text} failed on the probe"),
            generators.seeded(self.seed, self.job.device),
        ):
            drawn = unit_variance(self.model, probe)
        if not drawn:
            raise ConfigError(
                Problem("MODEL", "no linear map and no convolution of it trains", "one or more")
            )

    def _stream(self, x: Tensor, y: Tensor) -> Iterator[Batch]:
        stream = BatchStream(len(x), self.job.training.section.batch_size, (self.seed,))
        while True:
            rows = stream.next()[0].to(x.device)
            yield x[rows], y[rows]

    def _outputs(self, inputs: Any) -> Tensor:
        """The first tensor of what the model returns for a batch: one tensor, a tuple, or a dict of named inputs."""
        return _first(call(self.model, inputs))

    @torch.no_grad()
    def _evaluate(self, whole: bool) -> dict[str, float | Tensor]:
        """Loss on the whole validation split or the fixed part of it, with accuracy or R^2; nothing where the batches
        are the user's."""
        dataset = self.job.dataset
        if dataset is None:
            return {}
        rows = validation_part(dataset, None if whole else self.job.recording.eval_rows.of(dataset.features))
        x = torch.as_tensor(dataset.x_val[rows]).to(self.job.device, self.job.dtype)
        y = targets_tensor(dataset.y_val[rows], self.job.device, self.job.dtype)
        loss, right = 0.0, 0.0
        explained = Explained(y) if dataset.task == "regression" else None
        with evaluation(self.model):
            for start in range(0, len(y), EVALUATION_ROWS):
                part, targets = x[start : start + EVALUATION_ROWS], y[start : start + EVALUATION_ROWS]
                outputs = self._outputs(part)
                loss += float(self.objective.loss(outputs, targets)) * len(targets)
                if explained is not None:
                    self.objective.explain(explained, outputs, targets)
                elif (accuracy := self.objective.accuracy(outputs, targets)) is not None:
                    right += float(accuracy) * len(targets)
        found: dict[str, float | Tensor] = {"val_loss": loss / len(y), "eval_rows": float(len(y))}
        if explained is not None:
            return found | ({"val_r2": explained.share()} if explained.defined else {})
        return found | ({"val_accuracy": right / len(y)} if dataset.task == "classification" else {})

    def _newest(self) -> dict[str, float]:
        """The numbers of the newest row of steps.csv."""
        table = self.recorder.steps_table()
        return {n: float(table.columns[n][-1]) for n in STEPS.recorded if len(table) and table.applies[n][-1]}

    def _tables(self) -> RecordTables:
        """The rows so far."""
        recorder = self.recorder
        return RecordTables(
            recorder.table(), recorder.steps_table(), recorder.time_table(), recorder.attention_table()
        )


class _Criterion:
    """The objective as a function of what the model returns."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __call__(self, outputs: Any, targets: Tensor) -> Tensor:
        return self.objective.loss(_first(outputs), targets)


def _first(made: Any) -> Tensor:
    found = tensors(made)
    if not found:
        message = f"it returned {type(made).__name__} without a floating tensor"
        raise ConfigError(Problem("MODEL", message, "outputs as a floating tensor"))
    return found[0]


@contextmanager
def _users(what: str) -> Iterator[None]:
    """What the user's model does wrong, in whatever way, as a mistake of the user's; a full memory is none."""
    try:
        with users_code("MODEL", what):
            yield
    except ConfigError as error:
        if isinstance(error.__cause__, torch.OutOfMemoryError):
            raise error.__cause__ from None
        raise
