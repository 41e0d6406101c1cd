"""A forward pass that leaves no trace: random states, buffers, modes and attributes are as they were before."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradlab.errors import GradlabError

# OrderedDict: the hooks, which are no state of the model
UNCHANGING = {bool, int, float, str, tuple, type(None), OrderedDict}
CONTAINERS = {list, set, dict, deque}


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """`model` in eval mode, without gradients and without autocast; on leaving, what a forward pass may change is as
    it was before.

    That is: the generators of torch (CPU and every CUDA device in use), NumPy and Python, and those that the model
    keeps itself; the buffers (running statistics, counters); the rows that an embedding with `max_norm` shortens; each
    module's own training flag; attributes that the model binds anew, such as the hidden state that a recurrent model
    keeps for its next batch, and lists, dicts, sets and tensors that it changes. The modes are set without calling
    the model's own `eval`, which some models override. Raises GradlabError when a parameter was changed.
    """
    modules = list(model.modules())
    attributes = [(module, module.__dict__.copy()) for module in modules]
    # those that do not keep their mode among their attributes, such as a scripted one
    modes = [(module, module.training) for module, own in attributes if "training" not in own]
    values = [value for _, own in attributes for value in own.values() if type(value) not in UNCHANGING]
    # a model that an older torch has pickled keeps its tables in OrderedDicts
    tables = [table for module in modules for table in (module._buffers, module._parameters, module._modules)]
    changing = [*values, *(table for table in tables if type(table) is OrderedDict)]
    containers = [(each, each.copy()) for each in changing if type(each) in (*CONTAINERS, OrderedDict)]
    alone = [value for value in values if type(value) not in CONTAINERS]
    restore = [undo for value in alone if (undo := _undo(value)) is not None]
    restore += [_undo_tensor(buffer) for buffer in _distinct(module._buffers for module in modules)]
    restore += [
        _undo_tensor(module.weight)
        for module in modules
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None
    ]
    states = (torch.random.get_rng_state(), np.random.get_state(), random.getstate())
    parameters = [(each, each._version) for each in _distinct(module._parameters for module in modules)]
    places = {parameter.device for parameter, _ in parameters}
    devices = [device for device in places if device.type == "cuda"]
    cuda = [(device, torch.cuda.get_rng_state(device)) for device in devices]
    try:
        for module in modules:
            if type(module).__setattr__ is nn.Module.__setattr__:
                module.__dict__["training"] = False  # nn.Module's own way takes as long as a layer
            else:
                module.training = False
        with torch.no_grad(), ExitStack() as stack:
            for kind in {"cpu", *(device.type for device in places)}:
                if torch.is_autocast_enabled(
                    kind
                ):  # it would keep its casts of the weights, without their gradients
                    stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, own in attributes:
            _restore(module.__dict__, own)
        for value, before in containers:
            _refill(value, before)
        changed = {id(tensor) for undo in restore if (tensor := undo()) is not None}
        torch.random.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        for device, state in cuda:
            torch.cuda.set_rng_state(state, device)
    for parameter, version in parameters:
        if parameter._version != version and id(parameter) not in changed:
            name = next(name for name, each in model.named_parameters() if each is parameter)
            hint = "record without a probe: a forward pass in eval mode is no mere look at this model"
            raise GradlabError(f"the model's forward pass changed its parameter {name!r}", hint)


def _distinct(tables: Iterable[Mapping[str, Tensor | None]]) -> Iterable[Tensor]:
    """The tensors in the modules' tables, each once."""
    return {id(each): each for table in tables for each in table.values() if each is not None}.values()


def _restore(now: dict[str, Any], before: dict[str, Any]) -> None:
    for name in [name for name in now if name not in before]:
        del now[name]
    now.update(before)


def _undo(value: Any) -> Callable[[], Tensor | None] | None:
    """What puts an attribute's content back; None where binding it again is enough."""
    if isinstance(value, Tensor) and value.layout == torch.strided:
        return _undo_tensor(value)
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: (value.set_state(state), None)[1]
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        before = bits.state
        return lambda: setattr(bits, "state", before)
    if isinstance(value, random.Random):
        at = value.getstate()
        return lambda: value.setstate(at)
    return None


def _refill(value: Any, before: Any) -> None:
    """Put a container's content back, where it is not the same any more."""
    if isinstance(value, dict):
        same = list(value) == list(before) and all(map(is_, value.values(), before.values()))
    elif isinstance(value, set):
        same = value == before
    else:
        same = len(value) == len(before) and all(map(is_, value, before))
    if not same:
        value.clear()
        (value.extend if isinstance(value, list | deque) else value.update)(before)


def _undo_tensor(tensor: Tensor) -> Callable[[], Tensor | None]:
    """Its values again, where they were changed; it returns the tensor then. What was written behind autograd's back
    (`.data`) is seen by comparing, on the CPU alone: elsewhere asking would wait for the device."""
    version, copy = tensor._version, tensor.detach().clone()

    def undo() -> Tensor | None:
        if tensor._version == version and (tensor.device.type != "cpu" or torch.equal(tensor, copy)):
            return None
        with torch.no_grad():
            tensor.copy_(copy)
        return tensor

    return undo
