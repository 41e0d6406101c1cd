"""The training of one stack, from its first draw to its last record. It prints nothing and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.base import generators
from gradlab.config.plan import Stack
from gradlab.data import Dataset
from gradlab.nn import statistics as st
from gradlab.nn.buffered import buffered_pass
from gradlab.nn.cuda_graph import CapturedPass
from gradlab.nn.lsuv import scale_to_unit_variance
from gradlab.nn.mlp import StackedMLP, build_mlp
from gradlab.parts import record_schedule
from gradlab.parts.losses import correct
from gradlab.sensors.histograms import HistogramRecorder
from gradlab.sensors.jacobian import JACOBIAN_SAMPLES, jacobian_record
from gradlab.sensors.layers import StackRecorder
from gradlab.store.stack_result import StackResult
from gradlab.tables.columns import (
    HISTOGRAM_COLUMNS,
    JACOBIAN_COLUMNS,
    QUANTITIES,
    STEP_COLUMNS,
    layer_columns,
)
from gradlab.train import EVALUATION_ROWS
from gradlab.train.batches import BatchStream
from gradlab.train.checkpoint import Checkpoint, save_weights
from gradlab.train.clipping import clip, gradient_norms
from gradlab.train.phases import Phases

FLUSH_EVERY = 64  # records kept on the device before they move to the host together
REPORT_SECONDS = 0.1

Shown = Mapping[str, "NDArray[np.float64]"]
Watch = Callable[[int, int, "Shown | None"], None]
Waiting = tuple[Tensor | None, Tensor]
"""A record on the device: [layer, replica, column] of layers.csv, if it is recorded, [replica, column] of steps.csv."""


def build_stack(stack: Stack, dataset: Dataset) -> StackedMLP:
    """The untrained nets of a stack."""
    cell, bound = stack.cell, stack.bound
    mlp = build_mlp(
        activation=bound.activation,
        init=bound.init,
        norm=bound.norm,
        residual=bound.residual,
        depth=bound.network.depth,
        width=bound.network.width,
        features=dataset.features,
        outputs=bound.training.loss.units(dataset.classes),
        seeds=stack.seeds,
        dtype=getattr(torch, cell.dtype),
        device=cell.device,
    )
    if bound.init.lsuv is not None:
        inputs = torch.as_tensor(dataset.x_train).to(cell.device, getattr(torch, cell.dtype))
        scale_to_unit_variance(mlp, inputs, bound.init.lsuv)
    return mlp


def train_stack(
    stack: Stack,
    dataset: Dataset,
    watch: Watch | None = None,
    checkpoint: Checkpoint | None = None,
    weights: Path | None = None,
) -> StackResult:
    """Train the seeds of one stack side by side and record them.

    watch(step, made, shown) is called now and then with the updates made since the last call; right after a record
    `shown` holds its layer columns [replica, layer], losses and accuracies [replica], else None. A replica that
    diverges goes on with its NaNs: that is a result. The caller's torch thread count is left alone.

    checkpoint: where to go on, and where the state is kept meanwhile; it changes no bit of the records
    weights:    where the final weights go
    """
    training = Training(stack, dataset)
    result = training.run(watch, checkpoint)
    if weights:
        save_weights(weights, training)
    return result


class Training:
    """One training in progress: the nets, the optimiser, the batches and the records taken so far."""

    def __init__(self, stack: Stack, dataset: Dataset) -> None:
        cell, training, bound = stack.cell, stack.cell.training, stack.bound
        self.stack, self.training = stack, training
        self.mlp = build_stack(stack, dataset)
        dtype, device = getattr(torch, cell.dtype), cell.device
        self.x_train = torch.as_tensor(dataset.x_train).to(device, dtype)
        self.y_train = torch.as_tensor(dataset.y_train).to(device)
        self.x_val = torch.as_tensor(dataset.x_val).to(device, dtype)
        self.y_val = torch.as_tensor(dataset.y_val).to(device)
        self.schedule = bound.recording.schedule
        self.rate = bound.training.rate
        self.loss = bound.training.loss.begin()
        self.owners = self.mlp.owners()
        self.parameters = [parameter for parameter, _ in self.owners]
        self.optimizer = bound.training.optimizer.for_stack(self.owners, training.lr)
        self.stream = BatchStream(len(dataset.y_train), training.batch_size, stack.seeds)
        self.buffered = buffered_pass(self.mlp, bound.activation, training.batch_size)
        # Histograms are taken by hooks: a step that those see goes through modules.
        watched = self.schedule and not stack.recording.histograms
        self.kept = self.buffered.kept() if self.buffered and watched else None
        self.captured: CapturedPass | None = None
        metrics = stack.recording.metrics
        self.columns = layer_columns(metrics)
        probe = self.x_train[: bound.recording.probe]
        self.recorder = StackRecorder(self.mlp, bound.activation, probe, metrics) if self.schedule else None
        wanted = self.schedule and stack.recording.jacobian
        self.jacobian_at = probe[:JACOBIAN_SAMPLES] if wanted else None
        self.jacobians: list[NDArray[np.float64]] = []
        asked = self.schedule and stack.recording.histograms
        self.histogram_recorder = HistogramRecorder(self.mlp, probe) if asked else None
        self.histograms: list[NDArray[np.float64]] = []
        self.steps: list[int] = []
        self.layers: list[NDArray[np.float64]] = []
        self.layer_applies: list[NDArray[np.bool_]] = []
        self.scalars: list[NDArray[np.float64]] = []
        self.waiting: list[Waiting] = []
        self.seconds = {"plain": 0.0, "recorded": 0.0}
        self.counts = {"plain": 0, "recorded": 0}
        self.phases = Phases()

    def run(self, watch: Watch | None, checkpoint: Checkpoint | None) -> StackResult:
        steps = self.training.steps
        first = checkpoint.resume(self) if checkpoint else 0
        reported, last_report = 0, perf_counter()
        for step in range(first, steps + 1):
            started = perf_counter()
            recorded = record_schedule.is_due(self.schedule, step, steps)
            self.phases.start()
            self._step(step, recorded)
            kind = "recorded" if recorded else "plain"
            now = perf_counter()
            self.seconds[kind] += now - started
            self.counts[kind] += 1
            if watch and (recorded or now - last_report > REPORT_SECONDS):
                watch(step, step - reported, self._for_display() if recorded else None)
                reported, last_report = step, now
            if checkpoint and step < steps:
                checkpoint.keep(self, step + 1)
        self.flush()
        timings = {f"{kind}_seconds": self.seconds[kind] for kind in self.seconds}
        timings |= {f"{kind}_steps": float(self.counts[kind]) for kind in self.counts}
        timings |= {f"{phase}_seconds": seconds for phase, seconds in self.phases.seconds.items()}
        return self._result(timings)

    def _step(self, step: int, recorded: bool) -> None:
        if recorded:
            self._recorded_step(step)
        else:
            self._plain_step(step)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """The next batch of every replica: [replica, batch, feature] and [replica, batch]."""
        rows = self.stream.next().to(self.x_train.device)
        flat = rows.reshape(-1)
        return self.x_train.index_select(0, flat).view(*rows.shape, -1), self.y_train[flat].view(rows.shape)

    def _plain_step(self, step: int) -> None:
        x, y = self._batch()
        self.phases.lap("data")
        if self.buffered and x.is_cuda and self.loss.own is None:
            if self.captured is None:
                self.captured = CapturedPass(self.buffered, self.loss.gradient, x, y)
            self.captured.run(x, y)
            gradients: Sequence[Tensor] = self.captured.gradients
        elif self.buffered:
            outputs = self.buffered.forward(x)
            self.phases.lap("forward")
            self.buffered.backward(self.loss.gradient(outputs, y))
            gradients = self.buffered.gradients
        else:
            losses = self.loss.of(self.mlp(x), y)
            self.phases.lap("forward")
            gradients = self._backward(losses)
        self.phases.lap("backward")
        limit = self.training.clip
        self._update(step, gradients, gradient_norms(self.owners, gradients) if limit else None)
        self.phases.lap("optimizer")

    def _recorded_step(self, step: int) -> None:
        """As a plain step, watched; the one after the last update is recorded and makes none."""
        recorder, histograms, phases = self.recorder, self.histogram_recorder, self.phases
        x, y = self._batch()
        phases.lap("data")
        if step == 0:
            self.input_sq = x.to(st.wide_dtype(x)).square().mean(dim=2).cpu().numpy()
        with generators.kept(x.device.type):  # looking on draws nothing from the training
            scalars = self._evaluate()
            if self.jacobian_at is not None:
                self.jacobians.append(jacobian_record(self.mlp, self.jacobian_at).numpy())
            if histograms:
                histograms.begin()
            if recorder:
                recorder.begin(self.buffered)
        phases.lap("recording")
        outputs, losses, gradients = (self._kept_pass if self.kept else self._hooked_pass)(x, y)
        if histograms:
            self.histograms.append(histograms.record())
        norms = gradient_norms(self.owners, gradients)
        if recorder:
            recorder.take_gradients(dict(zip(self.parameters, gradients, strict=True)))
        last = step == self.training.steps
        phases.lap("recording")
        if not last:
            self._update(step, gradients, norms)
            phases.lap("optimizer")
            if recorder:
                recorder.after_update()
        scalars["train_loss"] = losses
        scalars["train_accuracy"] = st.share(correct(outputs, y))
        scalars["grad_norm"] = norms
        scalars["learning_rate"] = torch.full_like(norms, torch.nan if last else self.rate(step))
        self._keep(step, scalars)
        phases.lap("recording")

    def _kept_pass(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Outputs, losses and gradients of a recorded step in buffers that keep everything for the recorder."""
        kept, recorder, phases = self.kept, self.recorder, self.phases
        assert kept and recorder
        outputs = kept.forward(x)
        phases.lap("forward")
        losses, gradient = self.loss.losses_and_gradient(outputs, y)
        kept.backward(gradient)
        phases.lap("backward")
        recorder.take_pass(kept, gradient)
        phases.lap("recording")
        return outputs, losses, kept.gradients

    def _hooked_pass(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Outputs, losses and gradients of a recorded step through modules and their hooks."""
        recorder, histograms, phases = self.recorder, self.histogram_recorder, self.phases
        with (
            recorder.training_step() if recorder else nullcontext(),
            histograms.training_step() if histograms else nullcontext(),
        ):
            outputs = self.mlp(x)
            losses = self.loss.of(outputs, y)
            phases.lap("forward", recorder)
            gradients = self._backward(losses)
            phases.lap("backward", recorder)
        return outputs, losses.detach(), gradients

    def _backward(self, losses: Tensor) -> Sequence[Tensor]:
        gradients: Sequence[Tensor] = torch.autograd.grad(
            losses.sum(), self.parameters, allow_unused=True, materialize_grads=True
        )
        return gradients

    def _update(self, step: int, gradients: Sequence[Tensor], norms: Tensor | None) -> None:
        """One update of the optimiser; norms: [replica], needed where gradients are clipped."""
        limit = self.training.clip
        if limit:
            assert norms is not None
            gradients = clip(self.owners, gradients, norms, limit)
        self.optimizer.step(gradients, self.rate(step))

    def _evaluate(self) -> dict[str, Tensor]:
        """Loss and accuracy of every replica on the whole validation split, in eval mode."""
        replicas, rows = len(self.stack.seeds), len(self.y_val)
        loss = torch.zeros(replicas, dtype=st.wide_dtype(self.x_val), device=self.x_val.device)
        right = torch.zeros_like(loss)
        forward = self.buffered.infer if self.buffered else self.mlp
        with self.mlp.evaluating():
            for start in range(0, rows, EVALUATION_ROWS):
                x, y = (
                    self.x_val[start : start + EVALUATION_ROWS],
                    self.y_val[start : start + EVALUATION_ROWS],
                )
                labels = y.expand(replicas, -1)
                outputs = forward(x.expand(replicas, -1, -1))
                loss += self.loss.of(outputs, labels).to(loss.dtype) * len(y)
                right += correct(outputs, labels).sum(dim=1)
        return {"val_loss": loss / rows, "val_accuracy": right / rows}

    # -- the records -----------------------------------------------------------------------------------------

    def _keep(self, step: int, scalars: dict[str, Tensor]) -> None:
        wide = scalars["val_loss"].dtype
        row = torch.stack([scalars[name].to(wide) for name in STEP_COLUMNS], dim=1)
        self.steps.append(step)
        values = None
        if self.recorder:
            values, applies = self.recorder.finish()
            self.layer_applies.append(applies)
        self.waiting.append((values, row))
        self._newest = (values, row)
        if len(self.waiting) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Move the waiting records to the host in one go."""
        if not self.waiting:
            return
        if self.recorder:
            stacked = torch.stack([values for values, _ in self.waiting if values is not None])
            self.layers.append(_to_host(stacked))
        self.scalars.append(_to_host(torch.stack([row for _, row in self.waiting])))
        self.waiting = []

    def _for_display(self) -> Shown:
        """What a live display shows and judges of the newest record."""
        values, row = self._newest
        wanted = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
        shown = {name: _to_host(row[:, STEP_COLUMNS.index(name)]) for name in wanted}
        if values is not None:
            on_host = _to_host(values)
            shown |= {name: on_host[:, :, place].T for place, name in enumerate(self.columns)}
        return shown

    def _result(self, timings: dict[str, float]) -> StackResult:
        depth, replicas = self.stack.cell.network.depth, len(self.stack.seeds)
        linears = self.mlp.linears
        layer_shape = (len(linears), replicas, len(self.columns))
        scalar_applies = np.ones((len(self.steps), len(STEP_COLUMNS)), dtype=bool)
        scalar_applies[-1, STEP_COLUMNS.index("learning_rate")] = False
        return StackResult(
            cell=self.stack.cell.id,
            seeds=self.stack.seeds,
            steps=np.array(self.steps, dtype=np.int64),
            layers=np.concatenate([*self.layers, np.empty((0, *layer_shape))]),
            layer_applies=np.array(self.layer_applies, dtype=bool).reshape(
                -1, len(linears), len(self.columns)
            ),
            scalars=np.concatenate(self.scalars),
            scalar_applies=scalar_applies,
            layer_columns=self.columns,
            names=(*(f"hidden_{layer}" for layer in range(1, depth + 1)), "output"),
            fan_in=tuple(linear.weight.shape[1] for linear in linears),
            fan_out=tuple(linear.weight.shape[2] for linear in linears),
            batch=self.training.batch_size,
            input_sq=self.input_sq,
            timings=timings,
            jacobian=self._jacobian(),
            jacobian_samples=0 if self.jacobian_at is None else len(self.jacobian_at),
            histograms=self._histograms(),
        )

    def _histograms(self) -> NDArray[np.float64] | None:
        if not self.stack.recording.histograms:
            return None
        layers, replicas = len(self.mlp.linears), len(self.stack.seeds)
        shape = (layers, replicas, len(QUANTITIES), len(HISTOGRAM_COLUMNS))
        return np.array(self.histograms).reshape(-1, *shape)

    def _jacobian(self) -> NDArray[np.float64] | None:
        if not self.stack.recording.jacobian:
            return None
        rows, replicas = len(self.mlp.linears), len(self.stack.seeds)
        return np.array(self.jacobians).reshape(-1, rows, replicas, len(JACOBIAN_COLUMNS))


def _to_host(numbers: Tensor) -> NDArray[np.float64]:
    return numbers.cpu().to(torch.float64).numpy()
