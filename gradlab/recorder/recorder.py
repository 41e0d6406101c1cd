"""`gradlab.Recorder`: layer-by-layer, step-by-step statistics of any PyTorch model, taken in the user's own loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any
from warnings import warn

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from gradlab.base.errors import ConfigError, GradlabError, Problem, attempt, unknown
from gradlab.nn.mlp import StackedMLP
from gradlab.parts import record_schedule
from gradlab.recorder.asked import of_others
from gradlab.recorder.attention import Attention
from gradlab.recorder.checks import (
    METRICS,
    WITHOUT_HOOKS,
    chosen,
    optimizers_of,
    parameters_of,
    problems_of,
    problems_with,
    scales,
    unwrapped,
)
from gradlab.recorder.compiled import EagerSteps, is_compiled, plain_name
from gradlab.recorder.evaluation import evaluation
from gradlab.recorder.ledger import Ledger, Record
from gradlab.recorder.meters import BatchMeter, ProbeMeter
from gradlab.recorder.of_step import facts_of_step, in_closure, loss_of, versions_of_gradients
from gradlab.recorder.parameters import ParameterMeter
from gradlab.recorder.passes import ForwardPass
from gradlab.recorder.paths import on_paths
from gradlab.recorder.predicted import predicted
from gradlab.recorder.processes import OfRank, Processes, missing_gradients, time_of, whole_loss
from gradlab.recorder.recorded import Recorded
from gradlab.recorder.sinks import sink
from gradlab.recorder.steps import StepLedger
from gradlab.recorder.tap import Tap
from gradlab.recorder.taps import Taps
from gradlab.recorder.task import Criterion, Facts, Task
from gradlab.recorder.through_time import ThroughTime
from gradlab.recorder.turns import Turns
from gradlab.recorder.units import call, every_module, fans, own_parameters
from gradlab.sensors import own_columns
from gradlab.tables.spec import names
from gradlab.tables.steps import STEPS, STEPS_OF_ANY_MODEL

if TYPE_CHECKING:
    from gradlab.analyse.findings import Finding

FITS = 2 / 3
"""Share of the best constant's loss below which a net learns, whatever its outputs depend on."""

Probe = Tensor | tuple[Any, ...] | Mapping[str, Any]


class Recorder(Recorded):
    """Records the gradients and signals of a model in training; the model and the loop stay as they are.

        recorder = gradlab.Recorder(model, probe=x[:512], targets=y[:512], criterion=loss_function)
        with recorder:
            for inputs, targets in batches:
                optimizer.zero_grad()
                loss = loss_function(model(inputs), targets)
                loss.backward()
                recorder.step(loss=loss, optimizer=optimizer)
                optimizer.step()
        print(recorder.report())

    model:    any nn.Module, compiled or not; inside DistributedDataParallel or DataParallel the module within is
              watched
    probe:    inputs held for the whole run, on which signals and dead units are taken in eval mode: a tensor, a
              tuple of positional or a dict of named arguments. Without a probe those columns stay empty
    targets, criterion: what the probe's outputs should be, and the loss of (outputs, targets): with them each record
              has the probe's loss, its accuracy where targets are classes, and the loss of the best constant output,
              which a net that learns must beat. Without them, and without a loss in `step`, nothing is called healthy
    schedule: which steps are recorded: `log` (34 of 1,000), `all`, `every:N`; `off` leaves the first one (and the last)
    layers:   paths of modules to record, as in `named_modules`, or patterns like `encoder.*`; all when None
    steps:    number of steps of the whole run, so that the last one is recorded too
    first_step: the number of the first step; in a run that goes on from a checkpoint, how many updates it had made
    metrics:  `gradients` (norms of the parameter gradients alone, without any hook), `standard`, or `full`; behind
              the last two, columns of your own, `standard,package.module:function`: a function of one layer's
              activations on the probe, [sample, unit], that returns a number
    loss_reduction: how the loss combines the samples of a forward pass, so that delta is one sample's own: "mean",
              "sum", or the number that the samples' losses are divided by
    accumulation: number of backward passes whose losses are averaged into one update ("mean" only)
    batch_dim: the axis of the model's inputs that counts samples
    seeds:    names of the replicas of gradlab's own stacked MLP, one a replica; one seed for any other model
    processes: "all": records are of the samples and parameters of all processes that train the model, each of which
              must record it; "own": of this one's alone. None: "all" inside DistributedDataParallel and where
              parameters are sharded (`fully_shard`, DTensor)
    on_fault: called with each finding about what is happening (not about the state at birth) once it holds in the
              records
    log_to:   a TensorBoard SummaryWriter, a W&B run or the mlflow module: gets every record's numbers too

    `recorder.step` stands between the backward pass and the optimiser's step (after `scaler.unscale_`, before or after
    clipping: the gradients are recorded as they are then). Nothing is attached to the model in the steps between
    the recorded ones, or after the `with` block. Raises ConfigError, with every problem, for wrong arguments, for
    parameters without data (meta or lazy), and for a scripted module, which takes no hooks (`metrics="gradients"`
    needs none and takes it). A compiled graph runs no hooks either: give the recorder the compiled module, and the
    recorded steps run eagerly.
    """

    def __init__(
        self,
        model: nn.Module,
        probe: Probe | None = None,
        schedule: str = "log",
        layers: Iterable[str] | None = None,
        *,
        steps: int | None = None,
        first_step: int = 0,
        metrics: str = "standard",
        loss_reduction: str | float = "mean",
        accumulation: int = 1,
        batch_dim: int = 0,
        seeds: Sequence[int] | None = None,
        log_to: object = None,
        targets: Any = None,
        criterion: Criterion | None = None,
        on_fault: Callable[[Finding], object] | None = None,
        processes: str | None = None,
    ) -> None:
        self.model, self._given = unwrapped(model), model
        if isinstance(layers, Iterable) and not isinstance(layers, str):
            layers = list(layers)
        stacked = isinstance(self.model, StackedMLP)
        problems: list[Problem] = []
        columns = attempt(problems, lambda: own_columns.get(metrics, "metrics", METRICS))
        level = columns.level if columns else METRICS[-1]
        problems += problems_of(self.model, level)
        problems += problems_with(
            schedule, steps, first_step, loss_reduction, accumulation, batch_dim, processes
        )
        task = attempt(problems, lambda: Task(probe, targets, criterion))
        if not problems:
            chosen(self._parametrised()[0], layers, level, problems)
        if problems:
            raise ConfigError(problems)
        replicas = self.model.linears[0].weight.shape[0] if isinstance(self.model, StackedMLP) else 1
        seeds = tuple(seeds) if seeds is not None else tuple(range(replicas))
        if len(seeds) != replicas:
            raise ConfigError(
                Problem("seeds", f"{len(seeds)} seeds for {replicas} replicas", f"{replicas} seeds")
            )
        assert task is not None
        self.probe, self.steps, self.accumulation = probe, steps, accumulation
        self._task = task
        self.seconds = 0.0
        self._schedule = record_schedule.parse(schedule, "schedule")
        self._layers, self._metrics, self._batch_dim = layers, level, 1 if stacked else batch_dim
        self._hooked, self._eager = level != WITHOUT_HOOKS, EagerSteps()
        self._meter = BatchMeter(stacked, loss_reduction, accumulation)
        self._probe_meter = ProbeMeter(stacked, batch_dim, columns)
        self._ledger, self._run = Ledger(seeds, columns), StepLedger(seeds)
        self._time, self._attention = ThroughTime(seeds), Attention(self.model, seeds)
        self._facts: Facts = {}  # of the record that is being taken
        self._turns, self._updated = Turns(), set[int]()
        self._gradients: dict[int, int] = {}  # versions of the gradients as they were left at the step before
        self._awaited = False  # whether the open record's optimiser has yet to end its step
        self._in_closure = False  # whether it was said that the loop calls from a closure
        self._on_fault, self._told = on_fault, set[str]()
        self._processes = Processes(self._given, self.model, processes)
        self._look()
        self._log = _logger(log_to)
        self._step = first_step
        self._entered = self._armed = False
        self._rested = True  # no memory is kept for the next record
        # until the first record, which theory says something of; a run that goes on has had it
        self._at_birth = not stacked and first_step == 0
        self._open: Record | None = None  # the record whose update is still to come
        self._update_handles: list[RemovableHandle] = []
        self._started = self._elapsed = 0.0

    # -- the user's loop -------------------------------------------------------------------------------------

    def __enter__(self) -> Recorder:
        if self._entered:
            raise GradlabError("this recorder is already recording", "use one `with` block a recorder")
        self._entered = True
        self._processes.begin()
        self._started = perf_counter()
        self._arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close_record(alone=kind is not None)
            self._settle()
        finally:
            self._meter.release()
            self._time.release()
            self._taps.detach()
            self._eager.off()
            self._parameters.forget_update()
            self._rest()
            self._entered = self._armed = False
            self._elapsed += perf_counter() - self._started
        if kind is None:
            self._ask()

    def step(
        self,
        optimizer: Optimizer | Iterable[Optimizer] | None = None,
        scaler: torch.amp.GradScaler | None = None,
        *,
        loss: Tensor | float | None = None,
    ) -> None:
        """Between the backward pass and the optimiser's step, once for each update.

        optimizer: the optimiser that is about to step, or several; without it update_ratio stays empty
        scaler:    the GradScaler, if the loss was scaled: the true gradients are recorded. Needs `optimizer`.
        loss:      the loss of this step's batch, before any scaling, one number (or one a replica). It waits with the
                   records: no step is held up by it
        Raises GradlabError when a step was to be recorded and none of the model's modules was seen.
        """
        if not self._entered:
            raise GradlabError(
                "Recorder.step outside of its `with` block", "with gradlab.Recorder(model) as r: ..."
            )
        started, inside = perf_counter(), self._inside()
        if self._open is not None and self._awaited and not self._in_closure and in_closure():
            self._in_closure = True
            warn(
                "recorder.step is called again inside the optimizer's step: each evaluation of its closure counts as a "
                "step, and the update is that of the whole step",
                stacklevel=2,
            )
        self._close_record()
        optimizers = optimizers_of(optimizer)
        new = self._turns.now(optimizers)
        for each in new:
            self._updated |= {id(parameter) for parameter in parameters_of(each)}
        if self._armed:
            self._take(optimizers, scaler, loss)
        self._facts = {}
        self._step += 1
        self._arm()
        self._gradients = {}
        if self._armed:
            self._look_at_gradients()
            self._update_handles += [
                each.register_step_post_hook(Tap(self._look_at_gradients)) for each in optimizers
            ]
        self.seconds += perf_counter() - started - (self._inside() - inside)

    def skip(self, steps: int = 1) -> None:
        """Updates that are not looked at, such as one without a backward pass, in place of `step`: they count, no more.
        A record that was due is taken at the next `step`."""
        self._close_record()
        self._facts = {}
        self._step += steps
        if self._entered and not self._armed:
            self._arm()

    def add(self, **numbers: Tensor | float) -> None:
        """Further columns of steps.csv for the step that is going on, such as val_loss and val_accuracy; call it before
        `step`. Raises ConfigError for a name that is no column of numbers there."""
        allowed = [name for name in STEPS_OF_ANY_MODEL.recorded if STEPS_OF_ANY_MODEL.kinds[name] != "str"]
        if wrong := [name for name in numbers if name not in allowed]:
            raise ConfigError(unknown("add", "column", wrong[0], allowed, ", ".join(names(STEPS.columns))))
        self._facts |= numbers

    @property
    def overhead(self) -> float:
        """Host time spent recording, as a share of the time that the loop took without it."""
        elapsed = self._elapsed + (perf_counter() - self._started if self._entered else 0.0)
        own = self.seconds + self._inside()
        return own / (elapsed - own) if elapsed > own else 0.0

    @property
    def next_step(self) -> int:
        """The number of the current step: that of the update to come."""
        return self._step

    @property
    def recording(self) -> bool:
        """Whether the current step is being recorded."""
        return self._armed

    def watching(self) -> AbstractContextManager[Any]:
        """A context in which activation functions count as the model's, for loops that call its parts one by one."""
        return self._taps.watching() if self._armed and self._hooked else nullcontext()

    # -- the model -------------------------------------------------------------------------------------------

    def _parametrised(self) -> tuple[dict[str, nn.Module], set[str]]:
        """The modules with parameters of their own, by path, and the paths of those that the model knows of."""
        every, registered = every_module(self.model)
        own = {plain_name(name): module for name, module in every.items() if own_parameters(module)}
        return own, {plain_name(name) for name in registered}

    def _look(self) -> None:
        """Watch the model's modules and parameters as they are now."""
        every, registered = self._parametrised()
        modules = chosen(every, self._layers, self._metrics, [])
        stacked = isinstance(self.model, StackedMLP)
        self._parameters = ParameterMeter(
            modules, registered, stacked=stacked, metrics=self._metrics, processes=self._processes
        )
        self._taps = Taps(
            self.model, every, modules, self._meter, self._batch_dim, self._time, self._attention
        )
        self._ledger.fans |= {name: found for name, m in modules.items() if (found := fans(m)) is not None}
        self._built = _built(self.model)
        self._attention.look()

    # -- one record ------------------------------------------------------------------------------------------

    def _inside(self) -> float:
        return self._taps.seconds + self._meter.seconds

    def _due(self) -> bool:
        last = None if self.steps is None else self.steps - 1
        due = self._schedule is not None and record_schedule.is_due(self._schedule, self._step, last)
        return self._turns.due(due)

    def _arm(self) -> None:
        self._armed = self._due()
        if self._armed:
            self._rested = False
        elif self._open is None and not self._rested:
            self._rest()
        if self._armed and self._hooked:
            # theory reads weights when their module has run, where sharded ones are gone
            theory = self._at_birth and not self._parameters.sharded
            self._taps.reading = self._probe_meter.predicting = theory
            self._taps.mapping = self._turns.unmapped
            self._taps.attach()
            if is_compiled(self._given):
                self._eager.on()
        else:
            if self._taps.attached:
                self._taps.detach()
            self._eager.off()

    def _rest(self) -> None:
        """Give back all memory but that of the recorded numbers."""
        self._meter.rest()
        self._parameters.rest()
        self._rested = True

    def _take(
        self, optimizers: list[Optimizer], scaler: torch.amp.GradScaler | None, loss: Tensor | float | None
    ) -> None:
        """Everything but the update of this step's record."""
        delta_scale, gradient_scale = scales(scaler, optimizers)
        record = Record(self._step)
        self._processes.agree()
        passes, late = self._taps.passes, self._taps.late
        train_loss = None if loss is None else loss_of(loss, len(self._ledger.seeds))
        if _built(self.model) != self._built:  # the loop has put other modules or parameters into it
            self._taps.detach()
            self._look()
            if self._hooked and self.probe is not None:
                self._taps.attach()
        if self._hooked:
            self._meter.release()
            self._time.release()
            self._taps.forget()
        mine, series = passes, self._time.of_passes(passes, self._meter.samples)
        if self._processes.several:
            ranks = self._processes.step(OfRank(record.step, mine, late, train_loss, series))
            passes, late = [each for rank in ranks for each in rank.passes], any(rank.late for rank in ranks)
            train_loss, series = whole_loss(ranks, self._meter.reduction), time_of(ranks)
        if self._hooked:
            if not any(forward.calls for forward in passes):
                self._nothing_seen()
                return
            if late:  # the gradients are of other weights than those that would be recorded
                warn(
                    f"step {self._step}: the weights have changed since the backward pass, so there is no record of "
                    "it; recorder.step stands between the backward pass and the optimizer's step",
                    stacklevel=3,
                )
                return
            self._map(mine, optimizers)
            self._meter.commit(passes, record, delta_scale)
            if self._at_birth:
                for key, (rms, width) in self._processes.first(predicted(mine, record)).items():
                    record.put((key,), {"delta_rms_predicted": [rms], "delta_rms_band": [width]})
            self._time.commit(series, self._step, delta_scale)
            self._facts |= {"number_format": _narrowest(passes)}
            for forward in passes:
                applied = {key: made.activation for key, made in forward.calls.items() if made.activation}
                self._ledger.activations |= applied
            if self.probe is not None:
                self._run_probe(record)
        self._parameters.place(record)
        self._parameters.commit(record, gradient_scale)
        record.trains = self._parameters.trains(self._updated)
        if optimizers:
            self._facts["optimizer_used"] = self._turns.name(optimizers)
        known = facts_of_step(
            self.model, optimizers, gradient_scale, self._gradients, self.accumulation, self._processes
        )
        self._facts = known | self._facts
        if train_loss is not None:
            self._facts["train_loss"] = train_loss
        self._run.add(self._step, self._facts)
        self._turns.recorded(optimizers)
        every = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if every and all(parameter.grad is None for parameter in every):
            warn(
                f"step {self._step}: no parameter has a gradient; {missing_gradients(every)}",
                stacklevel=3,
            )
        self._open, self._at_birth = record, False
        self._awaited = bool(self._hooked and optimizers)
        if self._awaited:
            # Not in a hook before the step: where the loop calls the recorder in a closure, the step has begun already.
            self._parameters.before_update(
                {id(p) for p in parameters_of(optimizer)} for optimizer in optimizers
            )
            for which, optimizer in enumerate(optimizers):
                hook = Tap(partial(self._after_update, which))
                self._update_handles.append(optimizer.register_step_post_hook(hook))

    def _ask(self) -> None:
        """Of a net that is far from fitting its probe, whether one sample's output depends on the others, and on
        chance. That takes two and a half passes over the probe, after the last step."""
        loss, baseline = self._run.last("probe_loss"), self._run.last("baseline_loss")
        asks = not (self.probe is None or self._batch_dim != 0 or loss != loss or loss <= FITS * baseline)
        if not any(self._processes.gathered(asks)):  # the ranks run a sharded model together, or not at all
            return
        assert self.probe is not None
        found = of_others(self.model, self.probe)
        if found is not None:
            self._run.settle({"sample_mixing": found[0], "output_noise": found[1]})

    def _map(self, passes: Sequence[ForwardPass], optimizers: Sequence[Optimizer]) -> None:
        """Keep on which path each call is, which the passes of this record say."""
        used = [forward for forward in passes if forward.backward] or passes
        if graphs := [forward.graph for forward in used if forward.graph is not None]:
            self._ledger.paths = on_paths(graphs, self._ledger.paths)
        if self._turns.unmapped and any(self._processes.gathered(bool(graphs))):
            self._ledger.paths = self._processes.first(self._ledger.paths)
            self._turns.mapped(optimizers)

    def _nothing_seen(self) -> None:
        message = f"step {self._step}: no module of the model was seen in a forward pass with gradients"
        hint = (
            "call recorder.step after the backward pass; a compiled function and a functional transform run no hooks: "
            "compile the module itself and give the recorder what torch.compile returned"
        )
        if not self._ledger.records:
            raise GradlabError(message, hint)
        warn(f"{message}: no record of it ({hint})", stacklevel=4)

    def _run_probe(self, record: Record) -> None:
        self._probe_meter.record = record
        watch = self._task.watch()
        try:
            with evaluation(self.model):
                with watch or nullcontext(), self._taps.probing(self._probe_meter):
                    outputs = call(self.model, self.probe)
                    for forward in self._taps.passes:
                        record.saw([*forward.calls])
                        self._ledger.activations |= {k: c.activation for k, c in forward.calls.items()}
                    self._probe_meter.finish()
                    self._attention.commit(record.step)
                if not self._probe_meter.view.stacked:
                    self._facts |= self._task.of(outputs, watch)
        except GradlabError:
            raise
        except Exception as error:
            error.add_note("gradlab.Recorder ran the model on its probe, in eval mode and without gradients")
            raise
        finally:
            self._probe_meter.forget()
            self._attention.forget()
            self._probe_meter.record = None

    def _after_update(self, which: int, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._awaited = False
        if self._open is not None:
            started = perf_counter()
            # where a fused optimiser has it, it skips the step by itself
            found = getattr(optimizer, "found_inf", None)
            self._open.skipped = None if found is None else found.detach().clone()
            self._parameters.after_update(self._open, which)
            self.seconds += perf_counter() - started

    def _look_at_gradients(self, *_: Any) -> None:
        """As the step leaves them: once more after the update, since clipping writes to them before it."""
        self._gradients = versions_of_gradients(self.model)

    def _close_record(self, alone: bool = False) -> None:
        """The record is complete; an update that never came (the scaler skipped it) leaves its columns empty.

        alone: after an error, which the other processes do not know of
        """
        if self._open is not None and not alone:
            self._parameters.close(self._open)
        for handle in self._update_handles:
            handle.remove()
        self._update_handles.clear()
        self._parameters.forget_update()
        if self._open is not None:
            self._ledger.add(self._open)
            self._open = None
            if self._on_fault is not None:
                self._tell(self._on_fault)
            if self._log is not None:
                self._log(*self._ledger.latest())


def _narrowest(passes: Sequence[ForwardPass]) -> str:
    """Of the formats of the modules' outputs the one that ends first above 0, of those alike the shortest:
    `float16`."""
    formats = {kind for forward in passes for kind in forward.formats}
    coarsest = max(formats, key=lambda kind: (torch.finfo(kind).tiny, -torch.finfo(kind).bits), default="")
    return str(coarsest).removeprefix("torch.")


def _built(model: nn.Module) -> list[int]:
    """What modules and parameters a model is made of: another list where one was replaced, added or removed."""
    tables = [table for module in model.modules() for table in (module._modules, module._parameters)]
    return [id(each) for table in tables for each in table.values()]


def _logger(log_to: object) -> Any:
    if log_to is None:
        return None
    return sink(log_to)
