"""What a program of the clinic is: a training that somebody wrote, and what is true of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

WORDS = frozenset(
    {
        "bad-targets", "input-scale", "target-scale", "output-mismatch", "no-gradient", "constant-output", "dead",
        "saturated", "exploding", "vanishing", "underflow", "rate-too-high", "rate-too-low", "unstable", "diverged",
        "not-learning", "attention-collapse", "rank-collapse", "mixed-samples", "fading",
    }
)  # fmt: skip
"""Everything that can be said of a training that has a fault."""


@dataclass(kw_only=True)
class Setup:
    """One training as its author wrote it, ready to go.

    model:     what is watched; x, y: the training data, [sample, ...] each; x may be a tuple of tensors, the model's
               positional arguments
    criterion: criterion(outputs, targets) -> loss; None, as y then is, where the author's loss is no function of the
               model's outputs and targets (adversarial, reinforced, contrastive): the recorder gets no targets then
    optimizer: optimizer(parameters) -> torch.optim.Optimizer
    batch:     samples of a step, drawn without replacement from a shuffled epoch; steps: updates
    loop:      loop(setup, recorder), where the plain loop is not the author's; it calls `recorder.step(loss=...,
               optimizer=...)` once for each update, between the backward pass and the optimiser's step, and nothing
               else of the recorder's
    probe, targets: what the recorder is given; the first 256 rows of x and y when None
    accumulation, loss_reduction: as `gradlab.Recorder` has them
    score:     score(model) -> how good the trained model is, larger is better; the criterion's mean on x and y, with
               its sign turned, when None
    """

    model: nn.Module
    x: Tensor | tuple[Tensor, ...]
    y: Tensor | None
    criterion: Callable[[Tensor, Tensor], Tensor] | None
    optimizer: Callable[[Iterable[Parameter]], Optimizer]
    batch: int = 32
    steps: int = 300
    loop: Callable[[Setup, Any], None] | None = None
    probe: Any = None
    targets: Tensor | None = None
    accumulation: int = 1
    loss_reduction: str | float = "mean"
    score: Callable[[nn.Module], float] | None = None


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program. Everything but `make` was written before any diagnosis of it was seen.

    source:     where it is from: the question, the collection and its number, the paper
    fault:      what is wrong with it, in a sentence; "" for a training that works
    accepted:   words of which any is a right finding (the cause, or what the cause does for certain)
    cause:      those of them that name the cause
    mechanical: whether a change of the rate, clipping, the scale of inputs or targets, the criterion, the scale of
                the initial weights or a warm-up mends it, with the model's code as it is
    make:       make(mended) -> Setup; torch's, NumPy's and Python's generators are seeded before the call. A training
                that works has one form, whatever `mended` says
    """

    name: str
    source: str
    make: Callable[[bool], Setup]
    fault: str = ""
    accepted: frozenset[str] = frozenset()
    cause: frozenset[str] = frozenset()
    mechanical: bool = False

    def __post_init__(self) -> None:
        assert bool(self.fault) == bool(self.accepted), self.name
        assert self.cause <= self.accepted <= WORDS, self.name
