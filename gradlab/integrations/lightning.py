"""A Lightning callback that records the module in training. Needs the package `lightning`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer

from gradlab.recorder.recorder import Recorder


class RecorderCallback(Callback):
    """Records with `gradlab.Recorder`; `settings` are its arguments.

        callback = RecorderCallback(probe=x)
        Trainer(callbacks=[callback]).fit(module, loader)
        print(callback.recorder.report())

    out: a file for the rows, written when the training ends.
    Gradients are recorded after unscaling and before Lightning's own clipping. With manual optimisation each
    optimiser's step is a step of the recorder.
    """

    recorder: Recorder

    def __init__(self, out: str | Path | None = None, **settings: Any) -> None:
        self.out, self.settings = out, settings
        self._watching: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        steps = trainer.estimated_stepping_batches
        known = {"steps": int(steps)} if steps != float("inf") and int(steps) > 0 else {}
        known["accumulation"] = trainer.accumulate_grad_batches
        self.recorder = Recorder(pl_module, **(known | self.settings))
        self.recorder.__enter__()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._watching = self.recorder.watching()  # training_step may call parts of the module one by one
        self._watching.__enter__()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        self._stop_watching()
        self.recorder.step(optimizer=optimizer, scaler=getattr(trainer.precision_plugin, "scaler", None))

    def on_train_batch_end(self, *_: Any) -> None:
        self._stop_watching()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()
        if self.out is not None:
            self.recorder.to_csv(self.out)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end()

    def _stop_watching(self) -> None:
        if self._watching is not None:
            watching, self._watching = self._watching, None
            watching.__exit__(None, None, None)

    def _end(self) -> None:
        self._stop_watching()
        if hasattr(self, "recorder"):
            self.recorder.__exit__(None, None, None)
