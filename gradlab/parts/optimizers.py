"""The optimisers: how each updates the nets of a stack, and torch's own for any model. Free of torch at import.

A stack's updates are torch.optim's own through their functional form, which does not import the compiler on
construction. Every update is elementwise, so the replicas of a stack stay independent; the fused kernels are avoided
because they do not give a replica of a stack the same bits as the replica alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

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

BUFFERS = ("momenta", "squares", "means", "counts")


class StackOptimizer(Protocol):
    """An optimiser of one stack in training."""

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """Update the parameters in place; `gradients` are in their order and may be overwritten."""

    def state(self) -> dict[str, Tensor]:
        """All that the next steps depend on. Raises Unstorable where that is more than tensors."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave, in the same number formats; its tensors may be on another device."""


class Optimizer(Protocol):
    """An optimiser with its momentum and weight decay.

    state: how many tensors of a weight's size it keeps; own: what the user named, None for the registry's
    """

    @property
    def text(self) -> str: ...

    @property
    def state(self) -> int: ...

    @property
    def own(self) -> Own | None: ...

    def for_stack(self, owners: Owners, lr: float) -> StackOptimizer:
        """The optimiser of a stack in training, whose first rate is `lr`."""

    def for_model(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """Torch's optimiser of any model."""

    def step_model(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """One step of what `for_model` gave."""


class Update:
    """An optimiser of the registry over a fixed list of parameters. `kinds` names its state: lists of one tensor (or
    None) a parameter."""

    kinds: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: Sequence[Tensor], momentum: float, weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.momentum, self.weight_decay = momentum, weight_decay

    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        import torch

        with torch.no_grad():
            self.update(list(gradients), lr)

    def update(self, gradients: list[Tensor], lr: float) -> None:
        raise NotImplementedError

    def zeros(self) -> list[Tensor]:
        """One tensor of 0 a parameter."""
        import torch

        return [torch.zeros_like(parameter) for parameter in self.parameters]

    def no_steps(self) -> list[Tensor]:
        """One count of steps a parameter, on the CPU wherever the parameter is."""
        import torch

        return [torch.tensor(0.0) for _ in self.parameters]

    def state(self) -> dict[str, Tensor]:
        return {
            f"{kind}/{place}": buffer
            for kind in self.kinds
            for place, buffer in enumerate(getattr(self, kind))
            if buffer is not None
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in state.items():
            kind, _, place = name.rpartition("/")
            buffer = tensor if kind == "counts" else tensor.to(self.parameters[int(place)].device)
            getattr(self, kind)[int(place)] = buffer


class PlainSgd(Update):
    def update(self, gradients: list[Tensor], lr: float) -> None:
        import torch

        if self.weight_decay:
            _sgd(self, gradients, lr, [None] * len(gradients))
        else:  # what `sgd` comes to, without its bookkeeping
            torch._foreach_add_(self.parameters, gradients, alpha=-lr)


class Momentum(Update):
    kinds = ("momenta",)
    nesterov: ClassVar[bool] = False

    def __init__(self, parameters: Sequence[Tensor], momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, momentum, weight_decay)
        self.momenta: list[Tensor | None] = [None] * len(self.parameters)

    def update(self, gradients: list[Tensor], lr: float) -> None:
        _sgd(self, gradients, lr, self.momenta, nesterov=self.nesterov)


class Nesterov(Momentum):
    nesterov = True


def _sgd(
    update: Update,
    gradients: list[Tensor],
    lr: float,
    momenta: list[Tensor | None],
    *,
    nesterov: bool = False,
) -> None:
    from torch.optim.sgd import sgd

    sgd(
        update.parameters,
        gradients,
        momenta,
        foreach=True,
        weight_decay=update.weight_decay,
        momentum=update.momentum,
        lr=lr,
        dampening=0.0,
        nesterov=nesterov,
        maximize=False,
    )


class Adam(Update):
    kinds = ("squares", "means", "counts")

    def __init__(self, parameters: Sequence[Tensor], momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, momentum, weight_decay)
        self.squares, self.means, self.counts = self.zeros(), self.zeros(), self.no_steps()

    @staticmethod
    def function() -> Callable[..., None]:
        from torch.optim.adam import adam

        return adam

    def update(self, gradients: list[Tensor], lr: float) -> None:
        self.function()(
            self.parameters,
            gradients,
            self.means,
            self.squares,
            [],
            self.counts,
            foreach=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=lr,
            weight_decay=self.weight_decay,
            eps=1e-8,
            maximize=False,
        )


class AdamW(Adam):
    @staticmethod
    def function() -> Callable[..., None]:
        from torch.optim.adamw import adamw

        return adamw


class RmsProp(Update):
    kinds = ("momenta", "squares", "counts")

    def __init__(self, parameters: Sequence[Tensor], momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, momentum, weight_decay)
        self.squares, self.counts = self.zeros(), self.no_steps()
        self.momenta = self.zeros() if momentum > 0 else []

    def update(self, gradients: list[Tensor], lr: float) -> None:
        from torch.optim.rmsprop import rmsprop

        rmsprop(
            self.parameters,
            gradients,
            self.squares,
            [],
            self.momenta,
            self.counts,
            foreach=True,
            lr=lr,
            alpha=0.99,
            eps=1e-8,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            centered=False,
        )


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One registered optimiser.

    update:     the updates of a stack; torchs: torchs(torch.optim, momentum) -> the class for any model, its options
    state:      how many tensors of a weight's size it keeps
    usual_rate: a learning rate at which depth-5 to depth-20 nets of every kind here train on digits
    momentum:   its momentum where none is given; None where it has none of its own
    """

    summary: str
    update: Callable[[Sequence[Tensor], float, float], StackOptimizer]
    torchs: Callable[[Any, float], tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]]
    state: int
    usual_rate: float
    momentum: float | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def listed(self) -> dict[str, str]:
        return {"usual rate": f"{self.usual_rate:g}"}


OPTIMIZERS = Registry(
    "optimiser",
    {
        "sgd": Definition(
            summary="plain stochastic gradient descent",
            update=PlainSgd,
            torchs=lambda optim, _: (optim.SGD, {}),
            state=0,
            usual_rate=0.03,
        ),
        "momentum": Definition(
            summary="SGD with heavy-ball momentum, 0.9 unless given",
            update=Momentum,
            torchs=lambda optim, momentum: (optim.SGD, {"momentum": momentum}),
            state=1,
            usual_rate=0.01,
            momentum=0.9,
        ),
        "nesterov": Definition(
            summary="SGD with Nesterov's momentum, 0.9 unless given",
            update=Nesterov,
            torchs=lambda optim, momentum: (optim.SGD, {"momentum": momentum, "nesterov": True}),
            state=1,
            usual_rate=0.01,
            momentum=0.9,
        ),
        "adam": Definition(
            summary="Adam, betas 0.9 and 0.999, weight decay added to the gradient",
            update=Adam,
            torchs=lambda optim, _: (optim.Adam, {}),
            state=2,
            usual_rate=0.001,  # its authors'
        ),
        "adamw": Definition(
            summary="Adam with decoupled weight decay",
            update=AdamW,
            torchs=lambda optim, _: (optim.AdamW, {}),
            state=2,
            usual_rate=0.001,
        ),
        "rmsprop": Definition(
            summary="RMSprop, alpha 0.99, momentum 0 unless given",
            update=RmsProp,
            torchs=lambda optim, momentum: (optim.RMSprop, {"momentum": momentum}),
            state=1,
            usual_rate=0.001,
            momentum=0.0,
        ),
    },
    own=True,
)


@dataclass(frozen=True)
class _Registered:
    text: str
    definition: Definition
    momentum: float
    weight_decay: float
    own: None = None

    @property
    def state(self) -> int:
        return self.definition.state

    def for_stack(self, owners: Owners, lr: float) -> StackOptimizer:
        return self.definition.update([each for each, _ in owners], self.momentum, self.weight_decay)

    def for_model(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        import torch

        kind, options = self.definition.torchs(torch.optim, self.momentum)
        return kind(parameters, lr=lr, weight_decay=self.weight_decay, **options)

    def step_model(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()


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

        return load_optimizer(item, momentum, weight_decay, where)
    chosen = OPTIMIZERS.choose(item, where("optimizer"))
    usual = chosen.entry.momentum
    if momentum is not None and usual is None:
        having = [name for name, entry in OPTIMIZERS.items() if entry.momentum is not None]
        raise ConfigError(
            Problem(
                where("momentum"),
                f"{chosen.name} has no momentum of its own",
                f"{', '.join(having[:-1])} or {having[-1]} as the optimizer, or no momentum",
            )
        )
    return _Registered(
        chosen.text, chosen.entry, (usual or 0.0) if momentum is None else momentum, weight_decay
    )
