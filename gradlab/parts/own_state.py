"""What a module of the user's own remembers besides its parameters and buffers, which no checkpoint can hold."""

from __future__ import annotations

import pickle
from typing import Any

from torch import nn

STANDARD = frozenset(vars(nn.Module()))
"""What every module has besides what its author adds."""


def outside(module: nn.Module) -> dict[str, object]:
    """Its attributes that are neither parameters nor buffers, by path, to be compared later."""
    return {
        f"{path}.{name}": frozen(value)
        for path, each in module.named_modules()
        for name, value in vars(each).items()
        if name not in STANDARD
    }


def frozen(value: Any) -> object:
    """A value as it is now; what cannot be pickled counts by its identity."""
    try:
        return pickle.dumps(value)
    except Exception:  # pickling runs whatever code the value's class has
        return id(value)
