"""A cure: what to change in a training of one's own, as PyTorch code with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, inf, log10
from typing import Literal

Action = Literal[
    "rate", "clip", "warm-up", "standardise-inputs", "standardise-targets", "criterion", "initial-weights", "code"
]  # fmt: skip
"""What it changes; "code" is a change of the model or the loop that only its author can make."""


@dataclass(frozen=True)
class Cure:
    """do: what it changes; to: the new rate, length or criterion, where there is one; code: how to write it in a
    loop of one's own; reason: one sentence."""

    do: Action
    code: str
    reason: str
    to: float | str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.code}" if self.code else self.reason

    @property
    def mechanical(self) -> bool:
        """Whether it leaves the code of model and loop as it is, so that it can be tried for its author."""
        return self.do != "code"

    @property
    def standardises(self) -> bool:
        """Whether it changes the scale of inputs or targets; those of a data set of gradlab's have it already."""
        return self.do in ("standardise-inputs", "standardise-targets")

    @property
    def flag(self) -> str:
        """How `gradlab watch` is told to do it; empty where it has no flag for it."""
        flags = {
            "rate": f"--lr {self._number}",
            "clip": f"--clip {self._number}",
            "warm-up": f"--schedule constant:warmup={self._number}",
            "criterion": f"--loss torch.nn:{self.to}",
        }
        return flags.get(self.do, "")

    @property
    def for_watch(self) -> str:
        """The sentence for a training by `gradlab watch`: a flag where it has one, else the code."""
        return f"{self.reason}: {self.flag}" if self.flag else str(self)

    @property
    def _number(self) -> str:
        return self.to if isinstance(self.to, str) else f"{self.to:g}"


def rate(value: float, reason: str) -> Cure:
    """Another learning rate."""
    value = one_digit(value)
    return Cure("rate", f'for group in optimizer.param_groups: group["lr"] = {value:g}', reason, value)


def clip(reason: str, length: float = 1.0) -> Cure:
    return Cure("clip", f"torch.nn.utils.clip_grad_norm_(model.parameters(), {length:g})", reason, length)


def warm_up(reason: str, steps: int = 100) -> Cure:
    code = f"torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters={steps})"
    return Cure("warm-up", code, reason, steps)


def standardise_inputs(reason: str) -> Cure:
    return Cure("standardise-inputs", "x = (x - x_train.mean(0)) / (x_train.std(0) + 1e-8)", reason)


def standardise_targets(reason: str) -> Cure:
    return Cure("standardise-targets", "y = (y - y_train.mean(0)) / y_train.std(0)", reason)


def criterion(name: str, reason: str) -> Cure:
    """Another criterion of torch.nn, on the outputs as they are."""
    return Cure("criterion", f"criterion = torch.nn.{name}()", reason, name)


def initial_weights(reason: str) -> Cure:
    """Weights drawn anew so that each layer's outputs have variance 1 (LSUV, Mishkin and Matas 2016)."""
    return Cure("initial-weights", "gradlab.unit_variance(model, x[:256]) before the training", reason)


def made_once() -> Cure:
    return code(
        "self.layer = nn.Linear(...) in __init__, and F.dropout(x, p, self.training) in forward",
        "what is made or drawn in forward is another in every call",
    )


def code(text: str, reason: str) -> Cure:
    return Cure("code", text, reason)


def one_digit(value: float) -> float:
    """Rounded to 1, 2, 3 or 5 times a power of ten: a rate is no finer than that."""
    if not 0 < value < inf:
        return value
    power = 10.0 ** floor(log10(value))
    nearest = min((1, 2, 3, 5, 10), key=lambda digit: abs(log10(digit) - log10(value / power)))
    return float(f"{nearest * power:.3g}")
