"""The training of one stack, from its first draw to its last record. It prints nothing and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab import sensors
from gradlab.activations.modules import PerReplica
from gradlab.base import generators
from gradlab.base.errors import Unstorable
from gradlab.config.plan import Stack
from gradlab.data import Dataset
from gradlab.data.part import validation_part
from gradlab.nn import statistics as st
from gradlab.nn.buffered import buffered_pass
from gradlab.nn.cuda_graph import CapturedPass
from gradlab.nn.explained import Explained
from gradlab.nn.lsuv import scale_to_unit_variance
from gradlab.nn.maximal_update import rate_factors
from gradlab.nn.mlp import StackedMLP, build_mlp
from gradlab.parts import record_schedule
from gradlab.parts.inits import Init
from gradlab.parts.losses import correct
from gradlab.parts.optimizers import Optimizer, StackOptimizer
from gradlab.parts.own_state import outside
from gradlab.sensors.layers import LayerSensor
from gradlab.sensors.sensor import Observed, Sensor
from gradlab.store.stack_result import StackResult
from gradlab.tables.block import Block
from gradlab.tables.layers import LAYERS
from gradlab.tables.steps import STEPS
from gradlab.train import EVALUATION_ROWS
from gradlab.train.batches import BatchStream
from gradlab.train.checkpoint import Checkpoint, State, save_weights
from gradlab.train.clipping import clip, gradient_norms
from gradlab.train.phases import Phases
from gradlab.train.records import RecordBook, taken, to_host

REPORT_SECONDS = 0.1

Shown = Mapping[str, "NDArray[np.float64]"]
Watch = Callable[[int, int, "Shown | None"], None]
SHOWN = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_r2", "eval_rows")
"""What a live display is told of steps.csv, beside all of layers.csv."""


def targets_tensor(targets: NDArray[Any], device: str, dtype: torch.dtype) -> Tensor:
    """Classes as they are, numbers in the number format."""
    tensor = torch.as_tensor(targets)
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


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
        outputs=bound.training.loss.outputs(dataset),
        seeds=stack.seeds,
        dtype=getattr(torch, cell.dtype),
        device=cell.device,
    )
    if bound.init.lsuv is not None:
        inputs = torch.as_tensor(dataset.inputs(cell.dtype)[0]).to(cell.device, getattr(torch, cell.dtype))
        scale_to_unit_variance(mlp, inputs, bound.init.lsuv)
    return mlp


def stack_optimizer(mlp: StackedMLP, init: Init, optimizer: Optimizer, lr: float) -> StackOptimizer:
    """The optimiser of a stack, with the rates that its initialiser asks for."""
    if init.base is None:
        return optimizer.for_stack(mlp.owners(), lr)
    assert optimizer.by_rate is not None and optimizer.scale_free is not None, "the plan refuses it"
    return optimizer.by_rate(mlp.owners(), rate_factors(mlp, init.base, scale_free=optimizer.scale_free))


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
        save_weights(weights, stack, training.mlp)
    return result


class Training:
    """One training in progress: the nets, the optimiser, the batches and the records taken so far."""

    def __init__(self, stack: Stack, dataset: Dataset) -> None:
        cell, training, bound = stack.cell, stack.cell.training, stack.bound
        self.stack, self.training = stack, training
        self.mlp = build_stack(stack, dataset)
        dtype, device = getattr(torch, cell.dtype), cell.device
        x_train, x_val = dataset.inputs(cell.dtype)
        self.x_train = torch.as_tensor(x_train).to(device, dtype)
        self.y_train = targets_tensor(dataset.y_train, device, dtype)
        self.x_val = torch.as_tensor(x_val).to(device, dtype)
        self.y_val = targets_tensor(dataset.y_val, device, dtype)
        part = torch.as_tensor(validation_part(dataset, bound.recording.eval_rows.of(dataset.features))).to(
            device
        )
        whole = len(part) == len(self.y_val)
        self.validation_part = (self.x_val, self.y_val) if whole else (self.x_val[part], self.y_val[part])
        self.task = dataset.task
        self.schedule = bound.recording.schedule
        self.rate = bound.training.rate
        self.loss = bound.training.loss.begin()
        self.users = {each: outside(each) for each in self.mlp.modules() if isinstance(each, PerReplica)}
        self.owners = self.mlp.owners()
        self.parameters = [parameter for parameter, _ in self.owners]
        self.optimizer = stack_optimizer(self.mlp, bound.init, bound.training.optimizer, training.lr)
        self.stream = BatchStream(len(dataset.y_train), training.batch_size, stack.seeds)
        self.buffered = buffered_pass(self.mlp, bound.activation, training.batch_size)
        held = bound.recording.probe.of(dataset.features)
        probe, of_probe = self.x_train[:held], self.y_train[:held]
        names = (*(f"hidden_{layer}" for layer in range(1, cell.network.depth + 1)), "output")
        observed = Observed(
            self.mlp, bound.activation, probe, names, training.batch_size, of_probe, self.loss
        )
        every = _sensors(observed, stack)
        self.sensors = every if self.schedule else []
        self.book = RecordBook(_empty_blocks(every, len(stack.seeds)))
        in_buffers = self.buffered and self.schedule and not any(sensor.modules for sensor in self.sensors)
        self.kept = self.buffered.kept() if self.buffered and in_buffers else None
        self.captured: CapturedPass | None = None
        self.seconds = {"plain": 0.0, "recorded": 0.0}
        self.counts = {"plain": 0, "recorded": 0}
        self.phases = Phases()

    def run(self, watch: Watch | None, checkpoint: Checkpoint | None) -> StackResult:
        steps = self.training.steps
        first = checkpoint.resume(self, self.stack) if checkpoint else 0
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
                checkpoint.keep(self, self.stack, step + 1)
        timings = {f"{kind}_seconds": self.seconds[kind] for kind in self.seconds}
        timings |= {f"{kind}_steps": float(self.counts[kind]) for kind in self.counts}
        timings |= {f"{phase}_seconds": seconds for phase, seconds in self.phases.seconds.items()}
        return StackResult(
            cell=self.stack.cell.id,
            seeds=self.stack.seeds,
            steps=np.array(self.book.steps, dtype=np.int64),
            blocks=self.book.blocks(),
            input_sq=self.input_sq,
            timings=timings,
        )

    def _step(self, step: int, recorded: bool) -> None:
        if recorded:
            self._recorded_step(step)
        else:
            self._plain_step(step)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """The next batch of every replica: [replica, batch, feature], and [replica, batch] classes or [replica, batch,
        output] numbers."""
        rows = self.stream.next().to(self.x_train.device)
        flat, targets = rows.reshape(-1), self.y_train.shape[1:]
        x = self.x_train.index_select(0, flat).view(*rows.shape, -1)
        return x, self.y_train[flat].view(*rows.shape, *targets)

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
        phases, last = self.phases, step == self.training.steps
        x, y = self._batch()
        phases.lap("data")
        if step == 0:
            self.input_sq = x.to(st.wide_dtype(x)).square().mean(dim=2).cpu().numpy()
        with generators.kept(x.device.type):  # looking on draws nothing from the training
            scalars = self._evaluate(whole=last)
            if last:  # no cost of a record: without any, the nets are scored too
                phases.lap("evaluation")
            for sensor in self.sensors:
                sensor.begin(self.buffered)
        phases.lap("recording")
        outputs, losses, gradients = (self._kept_pass if self.kept else self._watched_pass)(x, y)
        norms = gradient_norms(self.owners, gradients)
        of_parameters: dict[Tensor, Tensor] = dict(zip(self.parameters, gradients, strict=True))
        for sensor in self.sensors:
            sensor.take_gradients(of_parameters)
        phases.lap("recording")
        if not last:
            self._update(step, gradients, norms)
            phases.lap("optimizer")
            for sensor in self.sensors:
                sensor.after_update()
        scalars["train_loss"] = losses
        if "val_accuracy" in scalars:
            scalars["train_accuracy"] = st.share(correct(outputs, y, self.loss.threshold))
        scalars["grad_norm"] = norms
        scalars["learning_rate"] = torch.full_like(norms, torch.nan if last else self.rate(step))
        wide = scalars["val_loss"].dtype
        row = {name: numbers.to(wide) for name, numbers in scalars.items()}
        missing = [
            name for name in STEPS.recorded if name not in row
        ]  # an accuracy of numbers, an R^2 of classes
        row |= {name: torch.full_like(row["val_loss"], torch.nan) for name in missing}
        record = {STEPS.name: taken(STEPS, row, [*missing, *(["learning_rate"] if last else [])])}
        self.book.add(step, record | {sensor.table.name: sensor.finish() for sensor in self.sensors})
        phases.lap("recording")

    def _kept_pass(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Outputs, losses and gradients of a recorded step in buffers that keep everything for the sensors."""
        kept, phases = self.kept, self.phases
        assert kept
        outputs = kept.forward(x)
        phases.lap("forward")
        losses, gradient = self.loss.losses_and_gradient(outputs, y)
        kept.backward(gradient)
        phases.lap("backward")
        for sensor in self.sensors:
            sensor.take_pass(kept, gradient)
        phases.lap("recording")
        return outputs, losses, kept.gradients

    def _watched_pass(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Outputs, losses and gradients of a recorded step through modules and their hooks."""
        phases = self.phases
        with ExitStack() as watching:
            for sensor in reversed(self.sensors):
                watching.enter_context(sensor.watching())
            outputs = self.mlp(x)
            losses = self.loss.of(outputs, y)
            phases.lap("forward", self.sensors)
            gradients = self._backward(losses)
            phases.lap("backward", self.sensors)
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

    def _evaluate(self, whole: bool) -> dict[str, Tensor]:
        """Loss of every replica on the whole validation split or the fixed part of it, in eval mode; its accuracy, or
        its R^2 of numbers."""
        x_val, y_val = (self.x_val, self.y_val) if whole else self.validation_part
        replicas, rows = len(self.stack.seeds), len(y_val)
        loss = torch.zeros(replicas, dtype=st.wide_dtype(x_val), device=x_val.device)
        right = torch.zeros_like(loss)
        explained = Explained(y_val) if self.task == "regression" else None
        forward = self.buffered.infer if self.buffered else self.mlp
        with self.mlp.evaluating():
            for start in range(0, rows, EVALUATION_ROWS):
                x, y = x_val[start : start + EVALUATION_ROWS], y_val[start : start + EVALUATION_ROWS]
                targets = y.expand(replicas, *y.shape)
                outputs = forward(x.expand(replicas, -1, -1))
                loss += self.loss.of(outputs, targets).to(loss.dtype) * len(y)
                if explained is not None:
                    explained.add(outputs, targets)
                elif self.task == "classification":
                    right += correct(outputs, targets, self.loss.threshold).sum(dim=1)
        found = {"val_loss": loss / rows, "eval_rows": torch.full_like(loss, rows)}
        if explained is not None:
            return found | ({"val_r2": explained.share()} if explained.defined else {})
        return found | ({"val_accuracy": right / rows} if self.task == "classification" else {})

    def _for_display(self) -> Shown:
        """What a live display shows and judges of the newest record."""
        shown: dict[str, NDArray[np.float64]] = {}
        for spec, wanted in ((LAYERS, None), (STEPS, SHOWN)):
            if (record := self.book.newest.get(spec.name)) is None:
                continue
            on_host, columns = to_host(record.values), self.book.empty[spec.name].columns
            shown |= {name: on_host[..., columns.index(name)] for name in wanted or columns}
        return shown

    # -- a checkpoint ------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Everything that it takes to go on: tensors and arrays by name, and plain facts.

        Raises Unstorable where a part of the user's own remembers what is no tensor.
        """
        for module, before in self.users.items():
            if outside(module) != before:
                raise Unstorable(f"{module.text} changes what is neither a parameter nor a buffer")
        tensors = {f"mlp/{name}": tensor for name, tensor in self.mlp.state_dict().items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in self.optimizer.state().items()}
        tensors |= {f"loss/{name}": tensor for name, tensor in self.loss.state().items()}
        tensors |= {f"stream/{name}": tensor for name, tensor in self.stream.state().items()}
        for sensor in self.sensors:
            tensors |= {f"sensor/{sensor.table.name}/{name}": t for name, t in sensor.state().items()}
        tensors["random"] = torch.get_rng_state()
        if self.x_train.is_cuda:
            tensors["random_cuda"] = torch.cuda.get_rng_state()
        arrays = {f"book/{name}": array for name, array in self.book.state().items()}
        facts = {"seconds": self.seconds, "counts": self.counts, "phases": self.phases.seconds}
        return State(tensors, arrays | {"input_sq": self.input_sq}, facts)

    def load_state(self, state: State) -> None:
        """Go on from what `state` gave."""
        self.mlp.load_state_dict(state.under("mlp"))
        self.optimizer.load_state(state.under("optimizer"))
        self.loss.load_state(state.under("loss"))
        self.stream.load_state(state.under("stream"))
        for sensor in self.sensors:
            sensor.load_state(state.under(f"sensor/{sensor.table.name}"))
        torch.set_rng_state(state.tensors["random"])
        if self.x_train.is_cuda:
            torch.cuda.set_rng_state(state.tensors["random_cuda"])
        self.book.load_state(state.arrays_under("book"))
        self.input_sq = state.arrays["input_sq"]
        self.seconds, self.counts = dict(state.facts["seconds"]), dict(state.facts["counts"])
        self.phases.seconds = dict(state.facts["phases"])


def _sensors(observed: Observed, stack: Stack) -> list[Sensor]:
    """What records the stack: the tables that were asked for, then the layers."""
    asked = [sensors.optional()[name](observed) for name in stack.recording.asked]
    return [*asked, LayerSensor(observed, stack.bound.recording.metrics)]


def _empty_blocks(every: Sequence[Sensor], replicas: int) -> dict[str, Block]:
    blocks = {STEPS.name: Block.empty(STEPS, replicas, {})}
    return blocks | {each.table.name: Block.empty(each.table, replicas, each.places()) for each in every}
