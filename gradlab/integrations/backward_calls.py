"""The losses that accelerate's `backward` runs on: the Trainer tells its callbacks of none before it is averaged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from accelerate import Accelerator
from torch import Tensor

_lock = threading.Lock()
_listeners: list[BackwardCalls] = []
_original: Any = None


class BackwardCalls:
    """While it is on, `heard` gets each loss that `Accelerator.backward` is called on in this thread, before the
    backward pass, as it is: divided by the parts of its batch already, not yet scaled.

    The method is replaced on the class, since a callback is given no accelerator, and put back by the last listener.
    """

    def __init__(self, heard: Callable[[Tensor], object]) -> None:
        self._heard, self._thread = heard, threading.get_ident()

    def on(self) -> None:
        global _original
        with _lock:
            _listeners.append(self)
            if _original is None:
                _original = Accelerator.backward
                Accelerator.backward = _telling(_original)

    def off(self) -> None:
        global _original
        with _lock:
            if self in _listeners:
                _listeners.remove(self)
            ours = getattr(Accelerator.backward, "__wrapped__", None) is _original
            if (
                not _listeners and _original is not None and ours
            ):  # else others have wrapped ours, which does no harm
                Accelerator.backward, _original = _original, None

    def _hear(self, loss: Tensor) -> None:
        if threading.get_ident() == self._thread:
            self._heard(loss)


def _telling(original: Any) -> Any:
    @wraps(original)
    def backward(accelerator: Any, loss: Tensor, *args: Any, **kwargs: Any) -> Any:
        for listener in tuple(_listeners):
            listener._hear(loss)
        return original(accelerator, loss, *args, **kwargs)

    return backward
