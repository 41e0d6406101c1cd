"""Recorded steps of a compiled model run eagerly, since a compiled graph runs no hooks."""

from __future__ import annotations

import sys
import threading
from typing import Any

import torch
from torch import nn

_lock = threading.Lock()
_eager = 0  # how many recorders want it
_stance: Any = None


def is_compiled(model: nn.Module) -> bool:
    """Whether the model, or a part of it, runs through `torch.compile` or its own `compile` method."""
    if "torch._dynamo" not in sys.modules:  # which compiling imports; asking must not
        return False
    return any("_orig_mod" in m._modules or m._compiled_call_impl is not None for m in model.modules())


def plain_name(name: str) -> str:
    """A module's path as it was before parts of the model were compiled."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


class EagerSteps:
    """While it is on, whatever is compiled in this process runs as it was written; its graphs wait for the next step.

    Torch's compiler has one stance for all, so the first recorder sets it and the last one restores it.
    """

    def __init__(self) -> None:
        self._on = False

    def on(self) -> None:
        global _eager, _stance
        if not self._on:
            self._on = True
            with _lock:
                _eager += 1
                if _eager == 1:
                    _stance = torch.compiler.set_stance("force_eager")

    def off(self) -> None:
        global _eager, _stance
        if self._on:
            self._on = False
            with _lock:
                _eager -= 1
                if _eager == 0 and _stance is not None:
                    _stance.__exit__(None, None, None)
                    _stance = None
