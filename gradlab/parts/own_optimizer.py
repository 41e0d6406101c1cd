"""A user's own optimiser, or any library's: a class of torch.optim.Optimizer, with one instance for each replica."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.base import generators
from gradlab.base.errors import ConfigError, Problem, Unstorable
from gradlab.base.grammar import Item
from gradlab.base.own import Own, load_own
from gradlab.parts.own_state import frozen

STANDARD = frozenset(vars(torch.optim.Optimizer([torch.zeros(1)], {})))
"""What every optimiser of torch has besides what its author adds."""
NUMBERS: Mapping[str, type] = {"bool": bool, "int": int, "float": float}


@dataclass(frozen=True)
class UsersOptimizer:
    """A class of optimisers. options: passed on beside the rate; state: how many tensors of a weight's size it keeps"""

    own: Own
    options: Mapping[str, Any]
    state: int = 0

    def for_stack(self, owners: Sequence[tuple[nn.Parameter, int | None]], lr: float) -> InstancePerReplica:
        return InstancePerReplica(self, owners, lr)

    def for_model(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        with self.own.running():
            made: torch.optim.Optimizer = self.own.attribute(parameters, lr=lr, **self.options)
            return made


class InstancePerReplica:
    """The optimisers of a stack's replicas, each over its own net's part of the stack's memory."""

    def __init__(
        self, chosen: UsersOptimizer, owners: Sequence[tuple[nn.Parameter, int | None]], lr: float
    ) -> None:
        self._chosen = chosen
        replicas = next(len(parameter) for parameter, owner in owners if owner is None)
        self._owners = [owner for _, owner in owners]
        self._parts = [
            [_Part(place, _part(parameter.detach(), owner, replica))
             for place, (parameter, owner) in enumerate(owners) if owner in (None, replica)]
            for replica in range(replicas)
        ]  # fmt: skip
        self._instances = [chosen.for_model([part.view for part in parts], lr) for parts in self._parts]
        self._outside = [_outside(instance) for instance in self._instances]

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        for replica, (instance, parts) in enumerate(zip(self._instances, self._parts, strict=True)):
            for part in parts:
                part.view.grad = _part(gradients[part.place], self._owners[part.place], replica)
            for group in instance.param_groups:
                group["lr"] = lr
            with self._chosen.own.running():
                instance.step()
            for part in parts:
                part.write_back()

    def state(self) -> dict[str, Tensor]:
        """`replica/part/name/kind` and `replica/group-number/name/kind`: tensors, and numbers as tensors."""
        found: dict[str, Tensor] = {}
        for replica, (instance, parts) in enumerate(zip(self._instances, self._parts, strict=True)):
            if _outside(instance) != self._outside[replica]:
                raise self._unstorable("changes what is neither in its state nor a number of its groups")
            kept = {str(number): instance.state.get(part.view, {}) for number, part in enumerate(parts)}
            for number, group in enumerate(instance.param_groups):
                kept[f"group-{number}"] = {name: value for name, value in group.items() if _countable(value)}
            for place, values in kept.items():
                for name, value in values.items():
                    kind, tensor = self._as_tensor(name, value)
                    found[f"{replica}/{place}/{name}/{kind}"] = tensor
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for key, tensor in state.items():
            replica, place, rest = key.split("/", 2)
            name, _, kind = rest.rpartition("/")
            instance, parts = self._instances[int(replica)], self._parts[int(replica)]
            if place.startswith("group-"):
                into = instance.param_groups[int(place.removeprefix("group-"))]
            else:
                into = instance.state[parts[int(place)].view]
            if kind in NUMBERS:
                into[name] = NUMBERS[kind](tensor.item())
            else:
                device = parts[0].view.device if kind == "beside" else "cpu"
                into[name] = None if kind == "none" else tensor.to(device)

    def _as_tensor(self, name: str, value: Any) -> tuple[str, Tensor]:
        """How a value is kept: a tensor `beside` the parameter or on the CPU, a number, or None."""
        if isinstance(value, Tensor):
            return ("cpu" if value.device.type == "cpu" else "beside"), value.detach()
        if value is None:
            return "none", torch.empty(0)
        for kind, number in NUMBERS.items():
            if type(value) is number:
                return kind, torch.tensor(value, dtype=torch.float64 if number is float else None)
        raise self._unstorable(f"keeps {name!r}, which is {type(value).__name__}")

    def _unstorable(self, what: str) -> Unstorable:
        return Unstorable(f"{self._chosen.own.text} {what}")


def load_optimizer(
    item: Item, momentum: float | None, weight_decay: float, where: Callable[[str], str]
) -> UsersOptimizer:
    """Import a class of optimisers and try it on a small matrix and vector.

    momentum, weight_decay: passed on where they are given. Raises ConfigError where it takes none of these, needs a
    closure, or fails.
    """
    own = load_own(item, where("optimizer"))
    if not (inspect.isclass(own.attribute) and issubclass(own.attribute, torch.optim.Optimizer)):
        raise own.refused("is no optimiser", "a class of torch.optim.Optimizer")
    with own.running():
        taken = inspect.signature(own.attribute).parameters
        closure = inspect.signature(own.attribute.step).parameters.get("closure")
    anything = any(each.kind is each.VAR_KEYWORD for each in taken.values())
    if "lr" in own.arguments or not (anything or "lr" in taken):
        says = "says its" if "lr" in own.arguments else "takes no"
        raise own.refused(
            f"{says} lr, which is set in every step", "a class that takes lr; its value is --lr"
        )
    options = {}
    for name, value in {"momentum": momentum, "weight_decay": weight_decay or None}.items():
        if value is None:
            continue
        if not (anything or name in taken):
            raise ConfigError(Problem(where(name), f"{own.text} takes no {name}", hint="leave it out"))
        if name in own.arguments:
            raise ConfigError(Problem(where(name), f"{own.text} says {name} already", "one of them"))
        options[name] = value
    if closure is not None and closure.default is closure.empty:
        message = "needs a closure, which computes the loss again within a step"
        raise own.refused(message, "an optimiser that steps from gradients alone")
    chosen = UsersOptimizer(own, {**own.arguments, **options})
    return replace(chosen, state=_tried(chosen))


def _tried(chosen: UsersOptimizer) -> int:
    """How many tensors of a weight's size it keeps after two steps."""
    matrix, vector = nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(3))
    with generators.seeded(0, "cpu"):
        optimizer = chosen.for_model([matrix, vector], 0.01)
        for _ in range(2):
            matrix.grad, vector.grad = torch.full_like(matrix, 0.1), torch.full_like(vector, 0.1)
            with chosen.own.running():
                optimizer.step()
    kept = optimizer.state.get(matrix, {}).values()
    return sum(isinstance(value, Tensor) and value.shape == matrix.shape for value in kept)


def _part(tensor: Tensor, owner: int | None, replica: int) -> Tensor:
    """A replica's part of a parameter or gradient, in the shape that the net alone would have: a bias is a vector."""
    if owner is not None:
        return tensor
    part = tensor[replica]
    return part[0] if part.dim() == 2 and len(part) == 1 else part


class _Part:
    """A replica's part of the stack's parameter number `place`, and the leaf over its memory that an optimiser gets."""

    def __init__(self, place: int, memory: Tensor) -> None:
        self.place, self._memory = place, memory
        self.view = nn.Parameter(memory)

    def write_back(self) -> None:
        """Some optimisers put a new tensor in the parameter's place instead of changing it."""
        if self.view.data_ptr() != self._memory.data_ptr():
            self._memory.copy_(self.view.data)
            self.view.data = self._memory


def _countable(value: Any) -> bool:
    return isinstance(value, (Tensor, *NUMBERS.values()))


def _outside(instance: torch.optim.Optimizer) -> dict[str, object]:
    """What an optimiser keeps elsewhere than in its parameters' state and in the numbers of its groups, to be compared;
    what cannot be pickled counts by its identity."""
    found = {name: value for name, value in vars(instance).items() if name not in STANDARD}
    found |= {str(key): value for key, value in instance.state.items() if not isinstance(key, Tensor)}
    for number, group in enumerate(instance.param_groups):
        others = {name: value for name, value in group.items() if name != "params" and not _countable(value)}
        found |= {f"{number} {name}": value for name, value in others.items()}
    return {name: frozen(value) for name, value in found.items()}
