"""A forward pass that leaves no trace: random states, buffers, modes and attributes are as they were before."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from operator import is_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradlab.base.errors import GradlabError
from gradlab.recorder.processes import reshard

UNCHANGING = {bool, int, float, str, type(None)}
HOOKS = {name for name, value in vars(nn.Module()).items() if isinstance(value, OrderedDict)}


class _Snapshot:
    """What a model's modules are made of, as it is: `restore` puts it back.

    modules: those of the model and those that it hides in lists and dicts
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules: list[nn.Module] = []
        self._attributes: list[tuple[nn.Module, dict[str, Any]]] = []
        self._containers: list[tuple[Any, Any]] = []
        self._undo: list[Callable[[], Tensor | None]] = []
        self._seen: set[int] = set()
        self._add_module(model)

    def restore(self) -> set[int]:
        """The ids of the tensors whose values were put back."""
        for module, own in self._attributes:
            _restore(module.__dict__, own)
        for value, before in self._containers:
            _refill(value, before)
        return {id(tensor) for undo in self._undo if (tensor := undo()) is not None}

    def _add_module(self, model: nn.Module) -> None:
        # Parameters are looked after apart: to put them back would take a copy of the model.
        self._seen.update(id(each) for module in model.modules() for each in module._parameters.values())
        for module in model.modules():
            if id(module) in self._seen:
                continue
            self._seen.add(id(module))
            self.modules.append(module)
            own = module.__dict__.copy()
            self._attributes.append((module, own))
            for table in (module._modules, module._parameters):
                if isinstance(table, dict):  # a scripted module's are none, and do not change
                    self._containers.append((table, dict(table)))
                self._seen.add(id(table))
            for name, value in own.items():
                if type(value) not in UNCHANGING and name not in HOOKS:
                    self._add(value)
            if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
                self._undo.append(_undo_tensor(module.weight))

    def _add(self, value: Any) -> None:
        """Remember a value, and what is in it."""
        todo = [value]
        while todo:
            value = todo.pop()
            if isinstance(value, nn.Module):
                self._add_module(value)
            elif type(value) not in UNCHANGING and id(value) not in self._seen:
                self._seen.add(id(value))
                todo += self._add_one(value)

    def _add_one(self, value: Any) -> Collection[Any]:
        """Remember a value alone; what is in it and may change."""
        inside: Collection[Any] = ()
        if isinstance(value, dict):
            self._containers.append((value, dict(value)))
            inside = value.values()
        elif isinstance(value, list | tuple | set | deque):
            if not isinstance(value, tuple):
                self._containers.append((value, set(value) if isinstance(value, set) else list(value)))
            inside = value
        elif (undo := _undo(value)) is not None:
            self._undo.append(undo)
        # a long list of numbers takes no time
        return () if set(map(type, inside)) <= UNCHANGING else inside


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """`model` in eval mode, without gradients and without autocast; on leaving, what a forward pass may change is as
    it was before.

    That is: the generators of torch (CPU and every CUDA device in use), NumPy and Python, and those that the model
    keeps itself; the buffers (running statistics, counters); the rows that an embedding with `max_norm` shortens; each
    module's own training flag; attributes that the model binds anew, such as the hidden state that a recurrent model
    keeps for its next batch, and lists, dicts, sets, tensors, arrays and modules among them, however deep; objects of
    other classes are not looked into. The modes are set without calling the model's own `eval`, which some models
    override. Raises GradlabError when a parameter was changed.
    """
    before = _Snapshot(model)
    modules = before.modules
    # those that do not keep their mode among their attributes, such as a scripted one
    modes = [(module, module.training) for module in modules if "training" not in module.__dict__]
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
        torch.random.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        for device, state in cuda:
            torch.cuda.set_rng_state(state, device)
        reshard(model)
        changed = before.restore()
    for parameter, version in parameters:
        if parameter._version != version and id(parameter) not in changed:
            names = (name for name, each in model.named_parameters() if each is parameter)
            which = next(names, "of a module that it hides")
            hint = "record without a probe: a forward pass in eval mode is no mere look at this model"
            raise GradlabError(f"the model's forward pass changed its parameter {which!r}", hint)


def _distinct(tables: Iterable[Mapping[str, Tensor | None]]) -> Iterable[Tensor]:
    """The tensors in the modules' tables, each once."""
    return {id(each): each for table in tables for each in table.values() if each is not None}.values()


def _restore(now: dict[str, Any], before: dict[str, Any]) -> None:
    for name in [name for name in now if name not in before]:
        del now[name]
    now.update(before)


def _undo(value: Any) -> Callable[[], Tensor | None] | None:
    """What puts an object's content back; None where there is nothing to put back."""
    if isinstance(value, Tensor):
        return None if value.is_inference() else _undo_tensor(value)  # torch lets nobody write over those
    if isinstance(value, np.ndarray):  # a read-only one may be a file larger than memory
        return _undo_array(value) if value.flags.writeable and not value.dtype.hasobject else None
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: (value.set_state(state), None)[1]
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        before = bits.state
        return lambda: setattr(bits, "state", before)
    if isinstance(value, np.random.RandomState):
        legacy = value.get_state()
        return lambda: value.set_state(legacy)
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
    (`.data`) is seen by comparing, for plain tensors on the CPU alone: elsewhere asking would wait for the device."""
    version, before = tensor._version, tensor.detach().clone()
    comparable = tensor.device.type == "cpu" and tensor.layout == torch.strided

    def undo() -> Tensor | None:
        if tensor._version == version and (not comparable or torch.equal(tensor, before)):
            return None
        with torch.no_grad():
            tensor.copy_(before)
        return tensor

    return undo


def _undo_array(array: NDArray[Any]) -> Callable[[], None]:
    before = array.copy()

    def undo() -> None:
        if not np.array_equal(array, before):
            array[...] = before

    return undo
