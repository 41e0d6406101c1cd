"""A Lightning callback that records the module in training. Needs the package `lightning`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins import DoublePrecision, HalfPrecision
from torch import Tensor
from torch.optim import Optimizer

from gradlab.integrations.training import RecordedTraining
from gradlab.recorder.recorder import Recorder


class RecorderCallback(Callback):
    """Records with `gradlab.Recorder`; `settings` are its arguments.

        callback = RecorderCallback(probe=x, targets=y, criterion=loss_function, out="results/my-model")
        Trainer(callbacks=[callback]).fit(module, loader)
        print(callback.recorder.report())

    out: where the records are written when the training ends, also by an exception or Ctrl-C: a .csv file for the
        rows of layers.csv, or a results folder, as `recorder.save` writes it. A training that goes on from a
        checkpoint adds to what is there. With several processes the first one writes

    Steps have the numbers of `trainer.global_step`. The loss is what `training_step` returns, with manual optimisation
    what `manual_backward` was called on, and `val_loss`, where the validation logs it, stands in the row of the step
    after it. The probe and the targets are moved to the module's device and cast to its precision. Gradients are
    recorded after unscaling and before Lightning's own clipping. With manual optimisation each optimiser's step is a
    step of the recorder; where several step after one `manual_backward`, the first one's is recorded.
    """

    recorder: Recorder

    def __init__(self, out: str | Path | None = None, **settings: Any) -> None:
        self.out, self.settings = out, settings
        self._training: RecordedTraining | None = None
        self._watching: AbstractContextManager[Any] | None = None
        self._global_step = -1  # of the newest step that was recorded or passed over

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()
        known = {
            "steps": _steps(trainer, pl_module),
            "first_step": trainer.global_step,
            "accumulation": trainer.accumulate_grad_batches,
        }
        out = self.out if trainer.is_global_zero else None
        self._training = RecordedTraining(pl_module, known, self.settings, out)
        self.recorder, self._global_step = self._training.recorder, trainer.global_step - 1

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._watch()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if self._training is None:
            return
        if pl_module.automatic_optimization:  # Lightning has divided it by the number of parts
            loss = loss.detach() * trainer.accumulate_grad_batches
        self._training.backward(loss, _scaler(trainer))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        training, automatic = self._training, pl_module.automatic_optimization
        if training is None:
            return
        if trainer.global_step == self._global_step:  # the optimiser calls its closure again, as L-BFGS does
            training.forget_losses()
            return
        self._stop_watching()
        self._global_step = trainer.global_step
        if training.has_no_backward(automatic):
            training.skip()
        else:
            with _number_format(trainer):
                training.step(optimizer, _scaler(trainer), mean=automatic)
        if not automatic:  # the rest of training_step belongs to the next optimiser's step
            self._watch()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._stop_watching()
        if self._training is not None and self._training.open:
            missed = trainer.global_step - 1 - self._global_step
            if missed > 0:
                self._training.skip(missed)
            self._global_step = trainer.global_step - 1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = trainer.callback_metrics.get("val_loss")
        if self._training is not None and value is not None:  # not so in the sanity check before the training
            self._training.add(val_loss=value)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end()

    def _watch(self) -> None:
        """training_step may call parts of the module one by one."""
        if self._training is not None and self._training.open and self._watching is None:
            self._watching = self.recorder.watching()
            self._watching.__enter__()

    def _stop_watching(self) -> None:
        if self._watching is not None:
            watching, self._watching = self._watching, None
            watching.__exit__(None, None, None)

    def _end(self) -> None:
        self._stop_watching()
        if self._training is not None:
            training, self._training = self._training, None
            training.close()


def _scaler(trainer: Trainer) -> torch.amp.GradScaler | None:
    return getattr(trainer.precision_plugin, "scaler", None)


def _steps(trainer: Trainer, module: LightningModule) -> int | None:
    """Updates of the whole run, as far as they are known. With manual optimisation Lightning knows the batches alone;
    each optimiser most often steps once in each."""
    steps = trainer.estimated_stepping_batches
    if steps == float("inf") or steps < 1:
        return None
    if not module.automatic_optimization:
        steps *= len(trainer.optimizers)
        steps = min(steps, trainer.max_steps) if trainer.max_steps > 0 else steps
    return int(steps)


def _number_format(trainer: Trainer) -> AbstractContextManager[None]:
    """The default number format that the module's forward pass runs in: the probe's makes tensors too. Autocast is none
    of it, and off for a probe."""
    plugin = trainer.precision_plugin
    if isinstance(plugin, HalfPrecision | DoublePrecision):
        found: AbstractContextManager[None] = plugin.forward_context()
        return found
    return nullcontext()
