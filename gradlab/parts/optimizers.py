"""The optimisers: how each updates the nets of a stack, and torch's own for any model. Free of torch at import.

A stack's updates are torch.optim's own through their functional form, which does not import the compiler on
construction. Every update is elementwise, so the replicas of a stack stay independent; the fused kernels are avoided
because they do not give a replica of a stack the same bits as the replica alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from gradlab.base.errors import ConfigError, Problem
from gradlab.base.grammar import Parameter, parse_item
from gradlab.base.own import Own
from gradlab.base.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Owners = Sequence[tuple["nn.Parameter", int | None]]
"""The parameters of a stack with the replica that each belongs to; None where its first axis is the replicas'."""
Where = Callable[[str], str]


class StackOptimizer(Protocol):
    """An optimiser of one stack in training."""

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """Update the parameters in place; `gradients` are in their order and may be overwritten."""

    def state(self) -> dict[str, Tensor]:
        """All that the next steps depend on. Raises Unstorable where that is more than tensors."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave, in the same number formats; its tensors may be on another device."""


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An optimiser with its momentum and weight decay.

    state:     how many tensors of a weight's size it keeps
    scale_free: whether its step does not depend on the gradient's size; None where nobody knows
    for_stack: for_stack(owners, lr) -> the optimiser of a stack
    by_rate:   by_rate(owners, factors) -> the same with a factor of the rate for each parameter; None for a user's own
    for_model: for_model(parameters, lr) -> torch's optimiser of any model
    own:       what the user named; None for the registry's
    """

    text: str
    state: int
    for_stack: Callable[[Owners, float], StackOptimizer]
    for_model: Callable[[Sequence[nn.Parameter], float], torch.optim.Optimizer]
    scale_free: bool | None = None
    by_rate: Callable[[Owners, Sequence[float]], StackOptimizer] | None = None
    own: Own | None = None

    def step_model(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """One step of what `for_model` gave."""
        for group in optimizer.param_groups:
            group["lr"] = lr
        with self.own.running() if self.own else nullcontext():
            optimizer.step()


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One registered optimiser.

    update:     update(stack, gradients, lr): one step of a stack
    buffers:    what it keeps of each parameter, and how that starts: start(stack, parameter)
    torchs:     torchs(torch.optim, momentum) -> the class for any model, its options
    state:      how many tensors of a weight's size it keeps
    usual_rate: a learning rate at which depth-5 to depth-20 nets of every kind here train on digits
    momentum:   its momentum where none is given; None where it has none of its own
    scale_free: whether its step does not depend on the gradient's size
    """

    summary: str
    update: Callable[[Update, list[Tensor], float], None]
    torchs: Callable[[Any, float], tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]]
    buffers: Mapping[str, Callable[[Update, Tensor], Tensor | None]] = field(default_factory=dict)
    state: int
    usual_rate: float
    momentum: float | None = None
    scale_free: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def listed(self) -> dict[str, str]:
        momentum = {} if self.momentum is None else {"momentum": f"{self.momentum:g}"}
        return {"usual rate": f"{self.usual_rate:g}", **momentum}


class Update:
    """A registered optimiser over the parameters of a stack; `buffers` is its state, of each kind a tensor (or None) a
    parameter."""

    def __init__(
        self, definition: Definition, parameters: Sequence[Tensor], momentum: float, weight_decay: float
    ) -> None:
        self.parameters = list(parameters)
        self.momentum, self.weight_decay = momentum, weight_decay
        self._update = definition.update
        self.buffers: dict[str, list[Any]] = {
            kind: [start(self, parameter) for parameter in self.parameters]
            for kind, start in definition.buffers.items()
        }

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        import torch

        with torch.no_grad():
            self._update(self, list(gradients), lr)

    def state(self) -> dict[str, Tensor]:
        return {
            f"{kind}/{place}": buffer
            for kind, buffers in self.buffers.items()
            for place, buffer in enumerate(buffers)
            if buffer is not None
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in state.items():
            kind, _, place = name.rpartition("/")
            device = "cpu" if kind == "counts" else self.parameters[int(place)].device
            self.buffers[kind][int(place)] = tensor.to(device)


class ByRate:
    """A registered optimiser whose parameters have factors of the rate, a stack of updates for each factor.

    make: make(parameters, factor) -> the updates of those parameters
    """

    def __init__(
        self,
        make: Callable[[Sequence[Tensor], float], Update],
        parameters: Sequence[Tensor],
        factors: Sequence[float],
    ) -> None:
        self.parts = {
            factor: [place for place, other in enumerate(factors) if other == factor]
            for factor in dict.fromkeys(factors)
        }
        self.updates = {
            factor: make([parameters[place] for place in places], factor)
            for factor, places in self.parts.items()
        }

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        for factor, places in self.parts.items():
            self.updates[factor].step([gradients[place] for place in places], lr * factor)

    def state(self) -> dict[str, Tensor]:
        return {
            f"{nth}/{name}": tensor
            for nth, update in enumerate(self.updates.values())
            for name, tensor in update.state().items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for nth, update in enumerate(self.updates.values()):
            begin = f"{nth}/"
            update.load_state(
                {name.removeprefix(begin): each for name, each in state.items() if name.startswith(begin)}
            )


def _plain(stack: Update, gradients: list[Tensor], lr: float) -> None:
    import torch

    if stack.weight_decay:
        _sgd(stack, gradients, lr)
    else:  # what `sgd` comes to, without its bookkeeping
        torch._foreach_add_(stack.parameters, gradients, alpha=-lr)


def _sgd(stack: Update, gradients: list[Tensor], lr: float, *, nesterov: bool = False) -> None:
    from torch.optim.sgd import sgd

    sgd(
        stack.parameters,
        gradients,
        stack.buffers.get("momenta") or [None] * len(gradients),
        foreach=True,
        weight_decay=stack.weight_decay,
        momentum=stack.momentum,
        lr=lr,
        dampening=0.0,
        nesterov=nesterov,
        maximize=False,
    )


def _adam(stack: Update, gradients: list[Tensor], lr: float, *, decoupled: bool = False) -> None:
    from torch.optim.adam import adam
    from torch.optim.adamw import adamw

    (adamw if decoupled else adam)(
        stack.parameters,
        gradients,
        stack.buffers["means"],
        stack.buffers["squares"],
        [],
        stack.buffers["counts"],
        foreach=True,
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=lr,
        weight_decay=stack.weight_decay,
        eps=1e-8,
        maximize=False,
    )


def _rmsprop(stack: Update, gradients: list[Tensor], lr: float) -> None:
    from torch.optim.rmsprop import rmsprop

    rmsprop(
        stack.parameters,
        gradients,
        stack.buffers["squares"],
        [],
        stack.buffers["momenta"] if stack.momentum else [],
        stack.buffers["counts"],
        foreach=True,
        lr=lr,
        alpha=0.99,
        eps=1e-8,
        weight_decay=stack.weight_decay,
        momentum=stack.momentum,
        centered=False,
    )


def _zeros(stack: Update, parameter: Tensor) -> Tensor:
    import torch

    return torch.zeros_like(parameter)


def _zeros_for_momentum(stack: Update, parameter: Tensor) -> Tensor | None:
    return _zeros(stack, parameter) if stack.momentum else None


def _count(stack: Update, parameter: Tensor) -> Tensor:
    """On the CPU wherever the parameter is."""
    import torch

    return torch.tensor(0.0)


def _from_gradient(stack: Update, parameter: Tensor) -> None:
    """It starts as the first gradient."""


OPTIMIZERS = Registry(
    "optimiser",
    {
        "sgd": Definition(
            summary="plain stochastic gradient descent",
            update=_plain,
            torchs=lambda optim, _: (optim.SGD, {}),
            state=0,
            usual_rate=0.03,
        ),
        "momentum": Definition(
            summary="SGD with heavy-ball momentum",
            update=_sgd,
            buffers={"momenta": _from_gradient},
            torchs=lambda optim, momentum: (optim.SGD, {"momentum": momentum}),
            state=1,
            usual_rate=0.01,
            momentum=0.9,
        ),
        "nesterov": Definition(
            summary="SGD with Nesterov's momentum",
            update=partial(_sgd, nesterov=True),
            buffers={"momenta": _from_gradient},
            torchs=lambda optim, momentum: (optim.SGD, {"momentum": momentum, "nesterov": True}),
            state=1,
            usual_rate=0.01,
            momentum=0.9,
        ),
        "adam": Definition(
            summary="Adam, betas 0.9 and 0.999, weight decay added to the gradient",
            update=_adam,
            buffers={"means": _zeros, "squares": _zeros, "counts": _count},
            torchs=lambda optim, _: (optim.Adam, {}),
            state=2,
            scale_free=True,
            usual_rate=0.001,  # its authors'
        ),
        "adamw": Definition(
            summary="Adam with decoupled weight decay",
            update=partial(_adam, decoupled=True),
            buffers={"means": _zeros, "squares": _zeros, "counts": _count},
            torchs=lambda optim, _: (optim.AdamW, {}),
            state=2,
            scale_free=True,
            usual_rate=0.001,
        ),
        "rmsprop": Definition(
            summary="RMSprop, alpha 0.99",
            update=_rmsprop,
            buffers={"momenta": _zeros_for_momentum, "squares": _zeros, "counts": _count},
            torchs=lambda optim, momentum: (optim.RMSprop, {"momentum": momentum}),
            state=1,
            scale_free=True,
            usual_rate=0.001,
            momentum=0.0,
        ),
    },
    own=True,
)


def get(
    text: str,
    *,
    momentum: float | None = None,
    weight_decay: float = 0.0,
    where: Where = str,
    own: bool = False,
) -> Optimizer:
    """The optimiser written as `text`.

    momentum, weight_decay: as configured, None and 0 where they are not
    where: how an error names the place of `optimizer`, `momentum` and `weight_decay`
    own:   whether it may be a user's own, which is then imported and tried

    Raises ConfigError for an unknown one, and for a momentum or weight decay that it does not take.
    """
    item = parse_item(text, where("optimizer"))
    if own and item.attribute is not None:
        from gradlab.parts.own_optimizer import load_optimizer

        users = load_optimizer(item, momentum, weight_decay, where)
        return Optimizer(
            text=users.own.text,
            state=users.state,
            for_stack=users.for_stack,
            for_model=users.for_model,
            own=users.own,
        )
    chosen = OPTIMIZERS.choose(item, where("optimizer"))
    definition, usual = chosen.entry, chosen.entry.momentum
    if momentum is not None and usual is None:
        having = [name for name, entry in OPTIMIZERS.items() if entry.momentum is not None]
        raise ConfigError(
            Problem(
                where("momentum"),
                f"{chosen.name} has no momentum of its own",
                f"{', '.join(having[:-1])} or {having[-1]} as the optimizer, or no momentum",
            )
        )
    share = (usual or 0.0) if momentum is None else momentum

    def for_model(parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        import torch

        kind, options = definition.torchs(torch.optim, share)
        return kind(parameters, lr=lr, weight_decay=weight_decay, **options)

    def update(parameters: Sequence[Tensor], factor: float = 1.0) -> Update:
        # rate times decay stays what it is, as in the authors' package (microsoft/mup)
        return Update(definition, parameters, share, weight_decay / factor)

    return Optimizer(
        text=chosen.text,
        state=definition.state,
        for_stack=lambda owners, lr: update([each for each, _ in owners]),
        for_model=for_model,
        scale_free=definition.scale_free,
        by_rate=lambda owners, factors: ByRate(update, [each for each, _ in owners], factors),
    )
