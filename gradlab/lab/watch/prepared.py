"""Cures that no key of the configuration describes: standardised inputs or targets, and weights of unit variance.

They are named by their words (`gradlab.analyse.cure.Action`), in the order of PREPARATIONS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from gradlab.base.errors import ConfigError, Problem

INPUTS, TARGETS, WEIGHTS = PREPARATIONS = ("standardise-inputs", "standardise-targets", "initial-weights")

FIRST_BATCHES = 16
"""Of the user's batches those whose mean and deviation count, of each seed's own; fewer where there are no more."""

Change = Callable[[Any], Any]


def in_order(words: Collection[str]) -> tuple[str, ...]:
    return tuple(word for word in PREPARATIONS if word in words)


def standardiser(samples: Sequence[Any], what: str) -> Change:
    """What gives every feature mean 0 and deviation 1, by these batches.

    samples: batches of one form, a tensor [sample, ...] or tuples or dicts of such; whole numbers stay as they are.
    A feature that is the same in all of them is moved to 0 and not scaled. what: names them in the ConfigError that is
    raised where a feature has no mean, because the samples' shapes differ
    """
    first = samples[0]
    if isinstance(first, dict):
        by_name = {name: standardiser([each[name] for each in samples], what) for name in first}
        return lambda value: {name: by_name[name](part) for name, part in value.items()}
    if isinstance(first, tuple):
        in_turn = [standardiser([each[i] for each in samples], what) for i in range(len(first))]
        return lambda value: tuple(change(part) for change, part in zip(in_turn, value, strict=True))
    if isinstance(first, Tensor) and first.is_floating_point():
        return _of_tensors(samples, what)
    return lambda value: value


def _of_tensors(samples: Sequence[Tensor], what: str) -> Change:
    if len({tensor.shape[1:] for tensor in samples}) > 1:
        raise ConfigError(
            Problem(what, "samples differ in shape, so that no feature has a mean", "one shape")
        )
    rows = torch.cat([*samples]).cpu().double()
    if len(rows) < 2:
        raise ConfigError(Problem(what, "a single sample has no deviation", "two samples or more"))
    mean, deviation = rows.mean(0), rows.std(0)
    # what rounding leaves of a constant feature is no deviation
    constant = deviation <= 1e-12 * mean.abs().clamp(min=1e-300)
    deviation = torch.where(constant, torch.ones_like(deviation), deviation)
    mean, deviation = mean.to(samples[0]), deviation.to(samples[0])
    return lambda value: (value - mean) / deviation
