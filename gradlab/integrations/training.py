"""One training that a callback watches: the recorder on its model, the loss of each step, the files at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from warnings import warn

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradlab.base.errors import in_words
from gradlab.integrations.files import RecordFiles
from gradlab.integrations.placing import anchor, criterion_at, placed
from gradlab.recorder.recorder import Recorder


class RecordedTraining:
    """Opens a Recorder on `model`.

    known:    arguments of the recorder that the trainer knows; `settings` are the user's, and come first
    out:      where the records go; None: nowhere
    Raises ConfigError for wrong arguments, before the training begins. From then on nothing that fails here ends a
    training in which steps were made already: the recorder is taken off the model and a warning says why.
    """

    def __init__(
        self, model: nn.Module, known: Mapping[str, Any], settings: Mapping[str, Any], out: str | Path | None
    ) -> None:
        settings = {**known, **settings}
        if (like := anchor(model)) is not None:
            for name in ("probe", "targets"):
                if name in settings:
                    settings[name] = placed(settings[name], like)
            if "criterion" in settings:
                settings["criterion"] = criterion_at(settings["criterion"], like)
        self.recorder = Recorder(model, **settings)
        self._files = None if out is None else RecordFiles(out, self.recorder)
        self._losses: list[Tensor] = []  # of the backward passes that the step to come is made of
        self._stepped = False  # whether a step was made of them already
        self._steps = 0
        self.open = True
        self.recorder.__enter__()

    def has_no_backward(self, always_heard: bool) -> bool:
        """Whether no backward pass was made since the last step. always_heard: none can be but by `backward`"""
        if self._losses:
            return self._stepped
        return always_heard

    def backward(self, loss: Tensor, scaler: torch.amp.GradScaler | None = None) -> None:
        """A backward pass is about to run. loss: what it runs on; scaler: the one that has scaled it already"""
        if self._stepped:
            self._losses, self._stepped = [], False
        loss = loss.detach().float() if loss.itemsize < 4 else loss.detach()
        if scaler is not None and scaler.is_enabled() and scaler._scale is not None:
            loss = loss / scaler._scale.to(loss.device)
        self._losses.append(loss)

    def step(
        self, optimizer: Optimizer, scaler: torch.amp.GradScaler | None = None, *, mean: bool = False
    ) -> None:
        """The optimiser is about to step. Its loss is the sum of those that backward passes ran on since the step
        before, which is what the gradients are of; or their mean, for the whole losses of parts of one batch."""
        if not self.open:
            return
        loss = None
        if self._losses and not self._stepped and self.recorder.recording:
            loss = torch.stack([each.to(self._losses[0].device) for each in self._losses]).sum()
            loss = loss / len(self._losses) if mean else loss
        self._stepped = True
        try:
            self.recorder.step(optimizer, scaler, loss=loss)
        except Exception as error:
            if self._steps == 0:  # nothing is lost yet, and the user is there to see it
                self.close()
                raise
            warn(
                f"gradlab stops recording at step {self.recorder.next_step}: {in_words(error)}", stacklevel=3
            )
            self.close()
        self._steps += 1

    def skip(self, steps: int = 1) -> None:
        """Steps without gradients of their own: they count, and have no record."""
        if self.open:
            self.recorder.skip(steps)

    def forget_losses(self) -> None:
        """What went backward until now belongs to no step to come."""
        self._stepped = True

    def add(self, **numbers: Tensor | float) -> None:
        """Numbers for steps.csv, of the weights as they are now."""
        if self.open:
            self.recorder.add(**numbers)

    def close(self) -> None:
        """Take the recorder off the model and write its records; once, however often it is called. Raises nothing: it
        runs where a training ends, be it well or by an error that must stay to be seen."""
        if not self.open:
            return
        self.open = False
        try:
            self.recorder.__exit__(None, None, None)
        except Exception as error:
            warn(f"gradlab could not end its recording: {in_words(error)}", stacklevel=2)
        if self._files is None:
            return
        try:
            self._files.write(self.recorder)
        except Exception as error:
            hint = "callback.recorder still has the records"
            warn(f"gradlab could not write {self._files.path}: {in_words(error)}; {hint}", stacklevel=2)
