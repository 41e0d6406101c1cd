"""Training losses: one number a replica, a mean over the batch, so that gradients stay per replica. Free of torch at
import.

Outputs are [replica, batch, unit], labels int64 [replica, batch], and what comes back is [replica].
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gradlab.base.errors import ConfigError, Problem, Unstorable
from gradlab.base.grammar import Item, Parameter, parse_item
from gradlab.base.own import Own, load_own
from gradlab.base.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

NO_REDUCTION, IGNORED = 0, -100  # torch's own: every sample's loss, and the label that counts for nothing


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One loss; those of the registry are its entries.

    of:        of(outputs, labels) -> [replica]
    units:     units of the readout for so many classes
    classes:   the only number of classes it takes; None for any
    short_cut: short_cut(outputs, labels) -> the losses and the gradient of their sum, without a graph; None where
               autograd has to find it
    own:       what the user named; None for the registry's
    """

    text: str
    summary: str
    of: Callable[[Tensor, Tensor], Tensor]
    units: Callable[[int], int] = lambda classes: classes
    classes: int | None = None
    short_cut: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    own: Own | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def losses_and_gradient(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each replica, and the gradient of their sum with respect to the outputs (which are detached)."""
        import torch

        if self.short_cut is not None:
            return self.short_cut(outputs.detach(), labels)
        outputs = outputs.detach().requires_grad_(True)
        losses = self.of(outputs, labels)
        (gradient,) = torch.autograd.grad(losses.sum(), outputs)
        return losses.detach(), gradient

    def gradient(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The gradient of the losses of all replicas, added up, with respect to the outputs (which are detached)."""
        return self.losses_and_gradient(outputs, labels)[1]

    def check_classes(self, classes: int, name: str, where: str) -> None:
        """Raise ConfigError where the loss cannot be taken on so many classes of the data set `name`; a user's own is
        tried on them."""
        if self.classes not in (None, classes):
            others = " or ".join(text for text, loss in LOSSES.items() if loss.classes is None)
            needed = {2: "two"}.get(self.classes or 0, self.classes)
            message = f"{self.text} needs {needed} classes, {name} has {classes}"
            raise ConfigError(Problem(where, message, others))
        if self.own is not None:
            import torch

            outputs = torch.linspace(-1, 1, 2 * classes * classes).reshape(1, 2 * classes, classes)
            self.begin().losses_and_gradient(outputs, torch.arange(2 * classes).reshape(1, -1) % classes)

    def state(self) -> dict[str, Tensor]:
        """What the next steps depend on. Raises Unstorable where that is more than tensors."""
        return self.of.state() if isinstance(self.of, _PerReplica) else {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if isinstance(self.of, _PerReplica):
            self.of.load_state(state)

    def begin(self) -> Loss:
        """The loss for one training: instances of a user's own module have nothing to do with another's."""
        return self if self.own is None else replace(self, of=_PerReplica(self.own))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """In nats, of the softmax of the outputs."""
    from torch.nn import functional

    replicas, batch, classes = logits.shape
    each = functional.cross_entropy(logits.reshape(-1, classes), labels.reshape(-1), reduction="none")
    return each.reshape(replicas, batch).mean(dim=1)


def _cross_entropy_and_gradient(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """By the kernels that autograd would run, on the same operands, without a graph: the same bits in half the time."""
    import torch

    aten = torch.ops.aten
    replicas, batch, classes = logits.shape
    chosen = labels.reshape(-1)
    logs = aten._log_softmax(logits.reshape(-1, classes), 1, False)
    each, weight = aten.nll_loss_forward(logs, chosen, None, NO_REDUCTION, IGNORED)
    share = logits.new_full((replicas * batch,), 1.0 / batch)
    down = aten.nll_loss_backward(share, logs, chosen, None, NO_REDUCTION, IGNORED, weight)
    gradient = aten._log_softmax_backward_data(down, logs, 1, logits.dtype)
    return each.view(replicas, batch).mean(dim=1), gradient.view(logits.shape)


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """In nats, of a sigmoid readout of one logit and labels 0 or 1."""
    from torch.nn import functional

    each = functional.binary_cross_entropy_with_logits(
        logits.squeeze(-1), labels.to(logits.dtype), reduction="none"
    )
    return each.mean(dim=1)


def mse(outputs: Tensor, labels: Tensor) -> Tensor:
    """Squared error against one-hot targets, summed over outputs, mean over the batch."""
    from torch.nn import functional

    targets = functional.one_hot(labels, outputs.shape[-1]).to(outputs.dtype)
    return (outputs - targets).square().sum(dim=2).mean(dim=1)


_ENTRIES = (
    Loss(
        text="cross_entropy",
        summary="minus the log of the softmax's share of the right class",
        of=cross_entropy,
        short_cut=_cross_entropy_and_gradient,
    ),
    Loss(
        text="binary_cross_entropy",
        summary="cross-entropy of one sigmoid output, for two classes",
        of=binary_cross_entropy,
        units=lambda classes: 1,
        classes=2,
    ),
    Loss(text="mse", summary="squared error against one-hot targets, summed over the outputs", of=mse),
)

LOSSES = Registry("loss", {loss.text: loss for loss in _ENTRIES}, own=True)


def get(text: str, where: str = "loss", *, own: bool = False) -> Loss:
    """The loss written as `text`.

    own: whether it may be a user's own, which is then imported. Raises ConfigError naming `where`.
    """
    item = parse_item(text, where)
    if own and item.attribute is not None:
        return _users(item, where)
    return LOSSES.choose(item, where).entry


def _users(item: Item, where: str) -> Loss:
    """A module class, or a function, from outputs [batch, classes] and targets int64 [batch] to one number."""
    own = load_own(item, where)
    return Loss(text=own.text, summary="a user's own loss", of=_PerReplica(own), own=own)


class _PerReplica:
    """A user's own loss, called for each replica by itself, as its author expects, on an instance of its own."""

    def __init__(self, own: Own) -> None:
        self._own = own
        self._functions: list[Callable[..., Any]] = []
        self._outside: list[dict[str, object]] = []
        self._kept: dict[int, dict[str, Tensor]] = {}  # by replica, for instances that are still to be made

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        import torch

        while len(self._functions) < len(outputs):
            self._add(self._function(outputs))
        losses = []
        for function, replica, classes in zip(self._functions, outputs, labels, strict=True):
            with self._own.running():
                # it may write into what it gets; and what it remembers is of the training alone
                called = function if torch.is_grad_enabled() else _aside(function)
                loss = called(replica.clone(), classes.clone())
            if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
                made = f"a tensor {[*loss.shape]}" if isinstance(loss, torch.Tensor) else type(loss).__name__
                raise self._own.refused(f"gave {made} for a batch", "one number, as a tensor")
            if replica.requires_grad and not loss.requires_grad:
                raise self._own.refused("gave a number without a gradient")
            losses.append(loss.reshape(()))
        return torch.stack(losses)

    def _add(self, function: Callable[..., Any]) -> None:
        import torch

        from gradlab.parts.own_state import outside

        if isinstance(function, torch.nn.Module):
            self._outside.append(outside(function))
            if kept := self._kept.get(len(self._functions)):
                function.load_state_dict(kept)
        self._functions.append(function)

    def state(self) -> dict[str, Tensor]:
        """`replica/name` of the buffers. Raises Unstorable where an instance remembers more than those."""
        import torch

        from gradlab.parts.own_state import outside

        modules = [each for each in self._functions if isinstance(each, torch.nn.Module)]
        if [outside(module) for module in modules] != self._outside:
            raise Unstorable(f"{self._own.text} changes what is no buffer")
        return {
            f"{replica}/{name}": tensor
            for replica, module in enumerate(modules)
            for name, tensor in module.state_dict().items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The instances, which the first batch makes, start from it."""
        assert not self._functions
        for key, tensor in state.items():
            replica, _, name = key.partition("/")
            self._kept.setdefault(int(replica), {})[name] = tensor

    def _function(self, like: Tensor) -> Callable[..., Any]:
        import torch

        own = self._own
        built = isinstance(own.attribute, torch.nn.Module)
        if not (inspect.isclass(own.attribute) or built):
            return partial(own.attribute, **own.arguments)
        if built and own.arguments:
            raise own.refused("is built already and takes no arguments", "its class, or a function")
        with own.running():
            made = copy.deepcopy(own.attribute) if built else own.attribute(**own.arguments)
        if not isinstance(made, torch.nn.Module):
            raise own.refused(f"gave {type(made).__name__}", "a class of torch.nn.Module, or a function")
        if any(parameter.requires_grad for parameter in made.parameters()):
            raise own.refused("has parameters of its own, which nothing would train")
        return made.to(like)


def _aside(function: Callable[..., Any]) -> Callable[..., Any]:
    """As it is, and in eval mode where it is a module; a copy, so that validation leaves no trace in it."""
    import torch

    return copy.deepcopy(function).eval() if isinstance(function, torch.nn.Module) else function


def correct(outputs: Tensor, labels: Tensor) -> Tensor:
    """Whether each sample is classified right: boolean [replica, batch]. An output that is NaN is never right."""
    one_logit = outputs.shape[-1] == 1
    guess = (outputs.squeeze(-1) > 0).long() if one_logit else outputs.argmax(dim=-1)
    return (guess == labels) & ~outputs.isnan().any(dim=-1)
