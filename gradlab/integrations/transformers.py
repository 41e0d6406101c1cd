"""A callback for Hugging Face's Trainer that records the model in training. Needs the package `transformers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gradlab.recorder.recorder import Recorder


class RecorderCallback(TrainerCallback):
    """Records with `gradlab.Recorder`; `settings` are its arguments.

        callback = RecorderCallback(probe=dict(input_ids=...))
        Trainer(model, args, train_dataset=..., callbacks=[callback]).train()
        print(callback.recorder.report())

    out: a file for the rows, written when the training ends.
    The Trainer offers its hook after its own clipping: with `max_grad_norm` above 0 the parameter gradients are the
    clipped ones (delta_rms is not touched by it). A training that ends in an error leaves the recorder open: close it
    with `callback.close()`.
    """

    recorder: Recorder

    def __init__(self, out: str | Path | None = None, **settings: Any) -> None:
        self.out, self.settings = out, settings

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        known = {"steps": state.max_steps, "accumulation": args.gradient_accumulation_steps}
        self.recorder = Recorder(kwargs["model"], **(known | self.settings))
        self.recorder.__enter__()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        optimizer = kwargs["optimizer"]
        self.recorder.step(optimizer=optimizer, scaler=getattr(optimizer, "scaler", None))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.close()
        if self.out is not None:
            self.recorder.to_csv(self.out)

    def close(self) -> None:
        """Take the recorder off the model."""
        self.recorder.__exit__(None, None, None)
