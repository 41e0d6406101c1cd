"""What a model is asked to do: the probe's inputs and targets, the criterion, and what the outputs are for them.

The numbers are columns of `tables.steps.OF_ANY_MODEL`. Those of inputs and targets are taken once, before the loop;
those of the outputs at each record, without waiting for a device.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gradlab.base import generators
from gradlab.base.errors import ConfigError, Problem
from gradlab.recorder.asked import unpulled
from gradlab.recorder.calls import CallWatch
from gradlab.recorder.evaluation import evaluation
from gradlab.recorder.units import tensors
from gradlab.tables.steps import OVER_SAMPLES

Criterion = Callable[[Any, Any], Any]
Fact = float | str | Tensor | NDArray[np.float64]
Facts = dict[str, Fact]
Reached = Callable[[Tensor], Tensor]

ALIKE = 1e-5
"""Relative difference up to which a criterion's value is that of a formula: float32 sums differ by less."""
INSIDE = "in the criterion"
"""What makes the numbers that a loss function takes, where the criterion computes them of the outputs itself."""
NEAR_0_AND_1 = ("binary_cross_entropy", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
"""Losses that bring outputs to targets of 0 and 1, where others take logits."""
REACHED: dict[str, Callable[[Tensor, int], Tensor]] = {
    "softmax": torch.softmax,
    "log_softmax": torch.log_softmax,
    "sigmoid": lambda z, axis: z.sigmoid(),
    "logsigmoid": lambda z, axis: F.logsigmoid(z),
}
"""Shares and their logarithms: of (z, axis of the classes). A model that ends so gives no other constant."""
FARTHER = 10.0
"""How many times larger a constant is tried for whether the loss falls without end: then none is the best."""
SEARCH = 40
"""Steps of the search for the best constant output; from a class's share or a mean it starts next to it."""


class Task:
    """probe: the model's inputs; targets: what the criterion takes beside the outputs, of any form; criterion: of
    (outputs, targets). Raises ConfigError where only one of the two is given."""

    def __init__(self, probe: object, targets: Any, criterion: Criterion | None) -> None:
        problems = []
        if (targets is None) != (criterion is None):
            missing, given = ("targets", "criterion") if targets is None else ("criterion", "targets")
            problems.append(
                Problem(
                    missing,
                    f"{given} alone say nothing about learning",
                    "both: targets=y, criterion=loss_function",
                )
            )
        if targets is not None and probe is None:
            problems.append(
                Problem("probe", "targets belong to a probe", "probe=x, the inputs of these targets")
            )
        if criterion is not None and not callable(criterion):
            problems.append(
                Problem(
                    "criterion",
                    f"{type(criterion).__name__} is no function",
                    "a function of (outputs, targets)",
                )
            )
        if problems:
            raise ConfigError(problems)
        self.targets, self.criterion = targets, criterion
        self.known: Facts = _of_inputs(probe) | _of_targets(targets)
        self._words: Facts = {}  # what the first record's calls said of the outputs
        self._outputs: Any = None  # of one record, for the search of the best constant
        self._searched = False
        self._reached: Reached = _anything
        self._middle = 0.0  # between the outputs that say no and yes to a single class

    def watch(self) -> CallWatch | None:
        """What must be on in the model's forward pass of a record; None from the second one on."""
        return None if self._words else CallWatch()

    def of(self, outputs: Any, watch: CallWatch | None) -> Facts:
        """The facts of a record, given what the model returned for the probe; called in eval mode, without a graph.

        watch: what `watch` gave, and was on in the model's forward pass
        """
        found = tensors(outputs)
        if not found or not found[0].numel():
            return dict(self.known)
        facts: Facts = {}
        output = found[0].detach()
        if self.criterion is not None:
            with watch or nullcontext():
                facts["probe_loss"] = self._loss(outputs)
            if not self._searched and self._outputs is None and isinstance(outputs, Tensor):
                self._outputs = outputs.detach().clone()
        if watch is not None:
            self._words = self._said(output, watch, facts.get("probe_loss"))
        facts |= self.known | self._words | self._accuracy(output)
        output = output.abs() if output.is_complex() else output
        wide = output if output.dtype in (torch.float32, torch.float64) else output.float()
        low, high = wide.aminmax()
        facts |= {
            "output_min": low,
            "output_max": high,
            "output_rms": wide.square().mean().sqrt(),
            "output_spread": _spread(wide) if wide.dim() else low * 0,
        }
        return facts

    def _said(self, output: Tensor, watch: CallWatch, loss: Fact | None) -> Facts:
        """What made the outputs, their shape, and what the criterion is: the same in every record."""
        taken = output if watch.taken is None else watch.taken
        original = watch.original(taken)
        made, size = watch.maker(original)
        own, width = watch.maker(output)
        self._reached = _reached(output, own, width)
        if not made and not _same_memory(original, output):
            made = INSIDE
        elif watch.across_samples(original) and len(original) > 1:
            made += OVER_SAMPLES
        words: Facts = {
            "output_activation": made,
            "output_shape": _shape(taken),
            "output_units": float(size or (taken.shape[1] if taken.dim() > 1 else 1)),
        }
        if len(watch.criteria) > 1:
            # Of several losses nobody knows which outputs and targets belong together.
            self.known = {name: fact for name, fact in self.known.items() if not name.startswith("target_")}
            words |= {"criterion": " + ".join(watch.criteria), "output_activation": ""}
        elif loss is not None:
            words["criterion"] = watch.criteria[0] if watch.criteria else self._formula(output, loss)
            if watch.against is not None and watch.against is not self.targets:
                self.known |= _of_targets(watch.against)
            near_0_and_1 = words["criterion"] in NEAR_0_AND_1 and _same_memory(taken, output)
            self._middle = 0.5 if own in ("sigmoid", "softmax") or near_0_and_1 else 0.0
        return words

    def asked(self) -> Facts:
        """What the criterion is asked once, of the first record's outputs; nothing where it was asked before.

        baseline_loss is the loss of the best output that is the same for every sample. The criterion is minimised over
        one output vector that the model's last function can give, by L-BFGS from the best of a few guesses: 0, the
        targets' mean and median, and the classes' shares and their logarithms.
        """
        if self._searched or self._outputs is None or self.criterion is None:
            return {}
        self._searched, outputs, self._outputs = True, self._outputs, None
        holder, found = self.criterion if isinstance(self.criterion, nn.Module) else nn.Module(), Facts()
        with warnings.catch_warnings(), generators.kept(outputs.device.type), evaluation(holder):
            warnings.simplefilter("ignore")  # the loop has seen the criterion's own already
            try:
                criterion = copy.deepcopy(self.criterion)
                baseline = _best_constant(criterion, outputs, self.targets, self._reached)
                if baseline is not None:
                    found["baseline_loss"] = baseline
                    share = unpulled(criterion, outputs, self.targets, baseline)
                    if share is not None:
                        found["unpulled_fraction"] = share
            except Exception:  # a criterion may take none but the outputs of its model, or no part of them
                return found
        return found

    def _loss(self, outputs: Any) -> Tensor | float:
        assert self.criterion is not None
        holder = self.criterion if isinstance(self.criterion, nn.Module) else nn.Module()
        try:
            with warnings.catch_warnings(), evaluation(holder):
                warnings.simplefilter("ignore")
                loss = self.criterion(outputs, self.targets)
        except Exception as error:
            error.add_note("gradlab.Recorder called the criterion with the probe's outputs and the targets")
            raise
        if isinstance(loss, Tensor) and not loss.is_complex():
            return loss.detach().float().mean() if loss.itemsize < 4 else loss.detach().mean()
        if isinstance(loss, int | float):
            return float(loss)
        raise ConfigError(
            Problem("criterion", f"it gave {type(loss).__name__}", "a loss, as a tensor or a number")
        )

    def _formula(self, output: Tensor, loss: Fact) -> str:
        """The criterion's name where it is written by hand: that of torch's with the same value, else its own."""
        y = self.targets
        if isinstance(y, Tensor) and y.is_floating_point() and output.device.type == "cpu":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    difference = output - y
                except RuntimeError:
                    difference = None
            if difference is not None and difference.numel():
                values = {"mse_loss": difference.square(), "l1_loss": difference.abs()}
                for name, value in values.items():
                    mean, summed = float(value.mean()), float(value.sum()) / len(value)
                    if any(abs(float(loss) - each) <= ALIKE * abs(each) for each in (mean, summed, mean / 2)):
                        return name
        named = self.criterion if hasattr(self.criterion, "__name__") else type(self.criterion)
        return str(getattr(named, "__name__", "criterion")).strip("<>")

    def _accuracy(self, output: Tensor) -> Facts:
        """probe_accuracy, where the targets name classes."""
        y, kind = self.targets, self.known.get("target_kind")
        if not isinstance(y, Tensor) or output.is_complex():
            return {}
        if kind == "classes" and output.dim() == y.dim() + 1:
            axis = -1 if output.shape[:-1] == y.shape else 1
            guess = output.argmax(dim=axis)
            # of a single output the largest says nothing: whole numbers may be a quantity
            right = guess == y if guess.shape == y.shape and output.shape[axis] > 1 else None
        elif kind == "one-hot" and output.shape == y.shape:
            right = output.argmax(dim=-1) == y.argmax(dim=-1)
        elif kind == "binary" and output.numel() == y.numel():
            right = (output.reshape(-1) > self._middle) == (y.reshape(-1) > 0.5)
        else:
            right = None
        if right is None:
            return {}
        sound = output.isfinite().all()
        return {"probe_accuracy": torch.where(sound, right.double().mean(), torch.nan)}


def _spread(outputs: Tensor) -> Tensor:
    """Root mean square over the outputs of their standard deviations over the samples, the first axis.

    Torch's own deviation along the first axis takes thirty times as long. From the first sample on, differences of
    outputs that are nearly alike are exact.
    """
    apart = outputs - outputs[0]
    return apart.sub_(apart.mean(dim=0)).square_().mean().sqrt()


def _of_inputs(probe: object) -> Facts:
    """What the probe's first floating tensor is; nothing for token numbers and the like."""
    found = [each for each in tensors(_plain(probe)) if each.dim() and each.numel() and not each.is_complex()]
    if not found:
        return _of_numbers_of_things(probe)
    rows = (
        found[0].detach().double().flatten(1) if found[0].dim() > 1 else found[0].detach().double()[:, None]
    )
    sound = rows[rows.isfinite().all(dim=1)]
    facts: Facts = {"input_nonfinite": float((~rows.isfinite()).sum())}
    if len(sound) > 1:
        spread = sound.std(dim=0, correction=0)
        varying = spread[spread > 0]
        facts |= {
            "input_rms": float(sound.square().mean().sqrt()),
            "input_spread": float(spread.square().mean().sqrt()),
            "input_constant": float((spread == 0).double().mean()),
        }
        if len(varying):
            facts["input_ratio"] = float(varying.max() / varying.quantile(0.25))
    return facts


def _of_numbers_of_things(probe: object) -> Facts:
    """Of token numbers and the like it is known how many of their places are the same in every sample."""
    if not isinstance(probe, Tensor) or probe.dim() < 1 or len(probe) < 2 or probe.dtype == torch.bool:
        return {}
    rows = probe.detach().reshape(len(probe), -1)
    return {"input_constant": float((rows == rows[0]).all(dim=0).double().mean())} if rows.numel() else {}


def _of_targets(targets: Any) -> Facts:
    if not isinstance(targets, Tensor) or not targets.numel() or targets.is_complex():
        return {}
    y, kind = targets.detach().double(), _kind(targets)
    sound = y[y.isfinite()]
    facts: Facts = {
        "target_kind": kind,
        "target_shape": _shape(targets),
        "target_nonfinite": float(y.numel() - sound.numel()),
    }
    if sound.numel():
        rows = y.reshape(len(y), -1) if y.dim() else y.reshape(1, 1)
        facts |= {
            "target_min": float(sound.min()),
            "target_max": float(sound.max()),
            "target_rms": float(sound.square().mean().sqrt()),
            "target_spread": float(rows.std(dim=0, correction=0).square().mean().sqrt()),
            **_commonest(targets, kind),
            "target_distinct": float(
                len(torch.unique(sound) if kind == "classes" else torch.unique(rows, dim=0))
            ),
        }
    return facts


def _commonest(y: Tensor, kind: str) -> Facts:
    """baseline_accuracy, where the targets name one class a sample."""
    if kind == "one-hot":
        y = y.argmax(dim=-1)
    elif kind not in ("classes", "binary"):
        return {}
    return {"baseline_accuracy": int(torch.unique(y, return_counts=True)[1].max()) / y.numel()}


def _kind(y: Tensor) -> str:
    """classes for whole-number types; of others binary for one column of 0 and 1, one-hot for rows of one 1 each,
    labels for other columns of 0 and 1, else numbers."""
    if not y.is_floating_point() and y.dtype != torch.bool:
        columns = y.dim() > 1 and y.shape[-1] > 1 and bool(((y == 0) | (y == 1)).all())
        if not columns:
            return "classes"
    if not bool(((y == 0) | (y == 1)).all()):
        return "numbers"
    if y.dim() < 2 or y.shape[-1] == 1:
        return "binary"
    return "one-hot" if bool((y.sum(dim=-1) == 1).all()) else "labels"


def _anything(z: Tensor) -> Tensor:
    return z


def _reached(output: Tensor, made: str, size: int | None) -> Reached:
    """What turns any numbers [1, ...] into outputs that a model can give whose last function is `made`."""
    if made not in REACHED:
        return _anything
    axis = 1 if output.dim() > 1 and output.shape[1] == size else -1
    return lambda z: REACHED[made](z, axis)


def _best_constant(criterion: Criterion, outputs: Tensor, targets: Any, reached: Reached) -> float | None:
    shape = (1, *outputs.shape[1:])

    def value(point: Tensor) -> float | None:
        return _value(criterion, reached(point), outputs, targets)

    with torch.enable_grad():
        tried = [(value(guess), guess) for guess in _guesses(outputs, targets)]
        known = [(found, guess) for found, guess in tried if found is not None]
        start = min(known, key=lambda pair: pair[0], default=None)
        if start is None:
            return None
        best = start[0]
        point = start[1].reshape(shape).clone().requires_grad_(True)
        search = torch.optim.LBFGS([point], max_iter=SEARCH, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            found: Tensor = criterion(reached(point).expand_as(outputs), targets).mean()
            found.backward()  # type: ignore[no-untyped-call]
            return found

        try:
            search.step(loss)  # type: ignore[no-untyped-call]
            end = value(point.detach())
        except RuntimeError:  # a criterion without a gradient, or outside of what it takes
            end = None
    if end is not None and end < best:
        best, at = end, point.detach()
    else:
        at = start[1]
    far = value(FARTHER * at)
    without_end = far is not None and best - far > max(abs(best), 1.0)
    return None if without_end else best


def _guesses(outputs: Tensor, targets: Any) -> list[Tensor]:
    """Constant outputs, [1, ...] each."""
    shape = (1, *outputs.shape[1:])
    zero = outputs.new_zeros(shape)
    guesses = [zero, zero + 0.5]
    if isinstance(targets, Tensor) and targets.numel():
        y = targets.detach()
        if not y.is_floating_point() and outputs.dim() == y.dim() + 1 and int(y.max()) < outputs.shape[1]:
            counts = torch.bincount(y.reshape(-1).clamp(min=0), minlength=outputs.shape[1]).to(outputs.dtype)
            share = (counts + 0.01) / (counts + 0.01).sum()
            for each in (share, share.log()):
                guesses.append(zero + each.reshape(1, -1, *[1] * (outputs.dim() - 2)))
        elif y.numel() == outputs.numel():
            y = y.reshape(outputs.shape).to(outputs.dtype)
            mean = y.mean(dim=0, keepdim=True)
            inside = mean.clamp(1e-6, 1 - 1e-6)
            guesses += [mean, y.median(dim=0, keepdim=True).values, inside.logit(), inside.log()]
    return guesses


def _value(criterion: Criterion, guess: Tensor, outputs: Tensor, targets: Any) -> float | None:
    try:
        with torch.no_grad():
            found = float(
                torch.as_tensor(criterion(guess.expand_as(outputs).clone(), targets)).double().mean()
            )
    except Exception:  # outside of what the criterion takes
        return None
    return found if -torch.inf < found < torch.inf else None


def _same_memory(a: Tensor, b: Tensor) -> bool:
    if a.layout != torch.strided or b.layout != torch.strided:
        return a is b
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _plain(value: object) -> object:
    return dict(value) if hasattr(value, "keys") and hasattr(value, "__getitem__") else value


def _shape(x: Tensor) -> str:
    return " x ".join(map(str, x.shape)) or "one number"
