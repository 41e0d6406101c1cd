"""The configured loss on what a user's model gives and what it should give, and whether the two fit."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlab.base.errors import ConfigError, Problem
from gradlab.config.bound import Where
from gradlab.data.dataset import AUTO
from gradlab.nn.explained import Explained
from gradlab.parts.criteria import SOFT
from gradlab.parts.losses import Loss, correct, in_words, names_for

MODEL, LOSS, TASK = "MODEL", "training.loss", "data.task"
FLOATING = ("regression", "multilabel", SOFT)
"""what floating targets may be"""


class Objective:
    """A loss for one training, with the form that it takes targets in.

    Classes are whole numbers, the class of each output on the outputs' last axis; where there is one output for each,
    they are 0 and 1. Floating targets have the outputs' shape, give or take a last axis of 1.

    task:  what the targets are; `auto` takes floating ones as numbers and whole ones as classes, or as labels where
           they have the outputs' own shape
    where: how an error names the place of a key
    """

    def __init__(self, loss: Loss, task: str, where: Where) -> None:
        self._loss, self._task, self._where = loss.begin(), task, where
        self._checked = False

    def task_of(self, outputs: Tensor, targets: Tensor) -> str:
        """What these targets are."""
        if self._task != AUTO:
            return self._task
        if targets.is_floating_point():
            return "regression"
        several = targets.dim() > 1 and targets.shape[-1] > 1
        return "multilabel" if targets.shape == outputs.shape and several else "classification"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """One number. Raises ConfigError where loss, outputs and targets do not fit each other."""
        task = self.task_of(outputs, targets)
        if not self._checked:  # once: to look at the values waits for the device
            self._check(task, outputs, targets)
            self._checked = True
        if task == "classification":
            flat, labels = self._by_label(outputs, targets)
            return self._loss.of(flat, labels).sum()
        floats = _floats(outputs, targets)
        if self._loss.own is None:
            outputs, floats = (each.reshape(len(each), -1) for each in (outputs, floats))
        return self._loss.of(outputs[None], floats[None]).sum()

    def accuracy(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """The share of classes that are right; None where the targets are none."""
        if self.task_of(outputs, targets) != "classification":
            return None
        return correct(*self._by_label(outputs, targets), self._loss.threshold).double().mean()

    @staticmethod
    def explain(explained: Explained, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch of numbers [sample, target] to an R^2."""
        floats = _floats(outputs, targets)
        explained.add(outputs.reshape(1, len(targets), -1), floats.reshape(1, len(targets), -1))

    def _by_label(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [1, label, class] and labels [1, label]: targets of any shape, the class on the last axis."""
        labels = targets.long()
        if self._loss.binary and outputs.shape == targets.shape:
            outputs = outputs.unsqueeze(-1)
        if outputs.dim() < 2 or outputs.shape[:-1] != targets.shape:
            raise ConfigError(_misfit(outputs, targets))
        if self._loss.binary and outputs.shape[-1] != 1:
            message = f"it gives {outputs.shape[-1]} outputs for each class, and {self._loss.text} takes one"
            raise ConfigError(Problem(MODEL, message, "one output, or another --loss"))
        return outputs.reshape(1, -1, outputs.shape[-1]), labels.reshape(1, -1)

    def _check(self, task: str, outputs: Tensor, targets: Tensor) -> None:
        """Raise ConfigError where the loss is none for such targets, or the targets are not what the task says."""
        takes, name = self._loss.takes, self._loss.text
        kind = "floating" if targets.is_floating_point() else "whole"
        given = f"the targets are {kind} numbers {[*targets.shape]}"
        possible = FLOATING if self._task == AUTO and task == "regression" else (task,)
        if not set(possible) & set(takes):
            told = "" if self._task == AUTO else f" for --task {task}"
            hint = "name a loss with --loss"
            if task == "regression" and self._task == AUTO:
                hint += ", or give whole numbers where the targets are classes"
            if task == "classification" and self._task == AUTO:
                hint += ", or give floating targets, or --task regression or multilabel"
            allowed = names_for(task)
            if self._task == AUTO and task == "regression":
                allowed = f"{allowed}; binary_cross_entropy for labels of 0 or 1"
            message = f"{name} takes {in_words(takes)}, and {given}{told}"
            raise ConfigError(Problem(self._where(LOSS), message, allowed, hint))
        if task == "classification":
            if targets.is_floating_point() and not bool((targets == targets.round()).all()):
                raise ConfigError(
                    Problem(self._where(TASK), f"{given}, with fractions, and no classes", "regression")
                )
            if self._loss.binary and not _within(targets, 0, 1):
                message = f"{name} needs two classes, and {given} from {_ends(targets)}"
                raise ConfigError(
                    Problem(self._where(LOSS), message, names_for(task, int(targets.max()) + 1))
                )
            return
        labels = task == "multilabel" or "regression" not in takes
        if labels and not _within(targets, 0, 1):
            message = f"{name} takes labels or shares from 0 to 1, and the targets go from {_ends(targets)}"
            place = self._where(LOSS if self._task == AUTO else TASK)
            raise ConfigError(
                Problem(place, message, names_for("regression"), "numbers are for another --loss")
            )
        if SOFT in takes and outputs.shape[-1] < 2:
            message = f"it gives one output, and {name} needs one for each of two classes or more"
            raise ConfigError(Problem(MODEL, message, "more outputs, or another --loss"))


def _floats(outputs: Tensor, targets: Tensor) -> Tensor:
    """The targets as floats of the outputs' shape. Raises ConfigError where they have another."""
    if _without_last_one(outputs) != _without_last_one(targets):
        raise ConfigError(_misfit(outputs, targets))
    return targets.to(outputs.dtype).reshape(outputs.shape)


def _without_last_one(tensor: Tensor) -> torch.Size:
    """The shape without a last axis of 1: what a criterion would else broadcast to all pairs of samples."""
    return tensor.shape[:-1] if tensor.dim() > 1 and tensor.shape[-1] == 1 else tensor.shape


def _within(targets: Tensor, low: float, high: float) -> bool:
    return bool(((targets >= low) & (targets <= high)).all())


def _ends(targets: Tensor) -> str:
    return f"{float(targets.min()):g} to {float(targets.max()):g}"


def _misfit(outputs: Tensor, targets: Tensor) -> Problem:
    shapes = f"outputs {[*outputs.shape]} do not fit the targets {[*targets.shape]}"
    return Problem(MODEL, shapes, "[..., classes] for classes, the targets' own shape for numbers and labels")
