"""Forward hooks on the layers of a stack, attached for as long as a record needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn

from gradlab.nn.mlp import StackedMLP

Hook = Callable[..., Any]


@contextmanager
def hooked(
    mlp: StackedMLP, *, linear: Hook | None = None, before: Hook | None = None, after: Hook | None = None
) -> Iterator[None]:
    """Call linear(layer, module, args, z) behind every linear map, the readout's last, before(layer, module, args) in
    front of every activation and after(layer, module, args, h) behind it."""
    activations = [layer.activation for layer in mlp.layers]
    wanted: list[tuple[Sequence[nn.Module], str, Hook | None]] = [
        (mlp.linears, "register_forward_hook", linear),
        (activations, "register_forward_pre_hook", before),
        (activations, "register_forward_hook", after),
    ]
    with ExitStack() as handles:
        for modules, register, hook in wanted:
            if hook is not None:
                for layer, module in enumerate(modules):
                    handles.callback(getattr(module, register)(partial(hook, layer)).remove)
        yield
