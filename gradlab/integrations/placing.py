"""A probe, its targets and its criterion put where the model is: on its device, in its floating-point format."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Formats that inputs come in. Quantised weights have others, which no input is cast to."""


def anchor(model: nn.Module) -> Tensor | None:
    """The parameter that says where the model is: its first one in a plain floating-point format, else its first."""
    first = next(model.parameters(), None)
    return next((each for each in model.parameters() if each.dtype in PLAIN), first)


def placed(value: Any, like: Tensor) -> Any:
    """`value` with every tensor in it, however deep in mappings, lists and tuples, on the device of `like`; plain
    floating-point tensors with its format. Whole numbers, masks and complex numbers keep theirs."""
    if isinstance(value, Tensor):
        cast = value.dtype in PLAIN and like.dtype in PLAIN
        return value.to(like.device, like.dtype) if cast else value.to(like.device)
    if isinstance(value, Mapping):
        return {name: placed(each, like) for name, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(placed(each, like) for each in value))
    if isinstance(value, list | tuple):
        return type(value)(placed(each, like) for each in value)
    return value


def criterion_at(criterion: Any, like: Tensor) -> Any:
    """A criterion whose own tensors, such as the weights of the classes, are where `like` is: itself, or a copy."""
    if not isinstance(criterion, nn.Module):
        return criterion
    own = [*chain(criterion.parameters(), criterion.buffers())]
    if all(placed(each, like) is each for each in own):
        return criterion
    cast = like.dtype if like.dtype in PLAIN else None
    return deepcopy(criterion).to(like.device, cast)
