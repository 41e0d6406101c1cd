"""A tap: a hook that a copy of the model does not take along, and what is measured at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from gradlab.recorder.passes import Call, ForwardPass
from gradlab.recorder.torch_activations import Shape


class Meter(Protocol):
    """What is measured at a call, its outputs (z is the first), what its module took, the activation phi on z, and
    phi's result h."""

    def output(
        self, forward: ForwardPass, call: Call, outputs: list[Tensor], module: nn.Module, args: Any
    ) -> None: ...

    def recomputed(self, forward: ForwardPass, call: Call, outputs: list[Tensor]) -> None: ...

    def before(self, call: Call, z: Tensor, shape: Shape, phi: Callable[[Tensor], Tensor]) -> None: ...

    def after(self, call: Call, h: Tensor) -> None: ...


class Tap:
    """A hook that does nothing in a copy of the model. A model may be copied or pickled while it is watched: the copy
    takes no recorder along, and drops the hook when it is called."""

    def __init__(self, function: Callable[..., None] | None = None) -> None:
        self.function = function

    def __call__(self, *args: Any) -> None:
        if self.function is not None:
            self.function(*args)
        elif isinstance(args[0], nn.Module):
            self._go(args[0])

    def _go(self, copied: nn.Module) -> None:
        """Take the hook off a copy. Those that torch also calls after errors stay: it is iterating over their table."""
        always = copied._forward_hooks_always_called
        for hooks, with_kwargs in (
            (copied._forward_hooks, copied._forward_hooks_with_kwargs),
            (copied._forward_pre_hooks, copied._forward_pre_hooks_with_kwargs),
        ):
            for number in [n for n, hook in hooks.items() if hook is self and n not in always]:
                del hooks[number]
                with_kwargs.pop(number, None)

    def __reduce__(self) -> tuple[type[Tap], tuple[()]]:
        return Tap, ()
