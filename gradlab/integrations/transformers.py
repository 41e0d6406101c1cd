"""A callback for Hugging Face's Trainer that records the model in training. Needs the package `transformers`."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gradlab.integrations.backward_calls import BackwardCalls
from gradlab.integrations.training import RecordedTraining
from gradlab.recorder.recorder import Recorder


class RecorderCallback(TrainerCallback):
    """Records with `gradlab.Recorder`; `settings` are its arguments.

        callback = RecorderCallback(probe=dict(input_ids=...), out="results/my-model")
        with callback:
            Trainer(model, args, train_dataset=..., callbacks=[callback]).train()
        print(callback.recorder.report())

    out: where the records are written when the training ends: a .csv file for the rows of layers.csv, or a results
        folder, as `recorder.save` writes it. A training that goes on from a checkpoint adds to what is
        there. With several processes the first one writes

    The Trainer tells its callbacks nothing of an exception or of Ctrl-C. Inside `with callback:` the records are
    written then, and the recorder is taken off the model; without it that happens at `callback.close()`, at the next
    training, when the callback is not used any more, or at the end of the process, whichever comes first.

    Steps have the numbers of `state.global_step`. The loss is the one that the Trainer goes backward from, whoever
    computed it, and `eval_loss` stands as val_loss in the row of the step after the evaluation. The probe and the
    targets are moved to the model's device and cast to its format. The Trainer offers its hook after its own clipping:
    with `max_grad_norm` above 0 the parameter gradients are the clipped ones (delta_rms is not touched by it).
    """

    recorder: Recorder

    def __init__(self, out: str | Path | None = None, **settings: Any) -> None:
        self.out, self.settings = out, settings
        self._training: RecordedTraining | None = None
        self._end: weakref.finalize[..., RecorderCallback] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.close()
        known = {
            "steps": state.max_steps if state.max_steps > 0 else None,
            "first_step": state.global_step,
            "accumulation": args.gradient_accumulation_steps,
        }
        out = self.out if state.is_world_process_zero else None
        model: Any = kwargs["model"]
        if args.torch_compile:
            # The recorder must know that the loop runs it compiled. Nothing is compiled by this.
            model = torch.compile(model)
        training = RecordedTraining(model, known, self.settings, out)
        losses = BackwardCalls(training.backward)
        losses.on()
        self._training, self.recorder = training, training.recorder
        self._end = weakref.finalize(self, _close, training, losses)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._training is not None:
            optimizer = kwargs["optimizer"]
            self._training.step(optimizer, getattr(optimizer, "scaler", None))

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self._training is not None and metrics is not None and "eval_loss" in metrics:
            self._training.add(val_loss=metrics["eval_loss"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the recorder off the model and write its records, where that has not happened."""
        self._training = None
        if self._end is not None:
            self._end()
            self._end = None

    def __enter__(self) -> RecorderCallback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _close(training: RecordedTraining, losses: BackwardCalls) -> None:
    losses.off()
    training.close()
