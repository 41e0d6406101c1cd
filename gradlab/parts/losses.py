"""Training losses: one number a replica, a mean over the batch, so that gradients stay per replica. Free of torch at
import.

Outputs are [replica, batch, unit] and what comes back is [replica]. Classes are labels int64 [replica, batch]; numbers
to predict, and labels of 0 or 1, are floating targets of the outputs' shape.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gradlab.base.errors import ConfigError, Problem, Unstorable
from gradlab.base.grammar import Item, Parameter, parse_item
from gradlab.base.own import Own, load_own
from gradlab.base.registry import OWN, Registry
from gradlab.data.dataset import TASKS
from gradlab.parts.criteria import of_torch

if TYPE_CHECKING:
    from torch import Tensor

    from gradlab.data import Dataset

NO_REDUCTION, IGNORED = 0, -100  # torch's own: every sample's loss, and the label that counts for nothing


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One loss; those of the registry are its entries.

    of:        of(outputs, targets) -> [replica]
    takes:     the tasks whose targets it takes
    binary:    whether one output stands for two classes, and more cannot be taken
    threshold: the output above which that is the second class
    short_cut: short_cut(outputs, labels) -> the losses and the gradient of their sum, without a graph; None where
               autograd has to find it
    own:       what the user named; None for the registry's
    """

    text: str
    summary: str
    of: Callable[[Tensor, Tensor], Tensor]
    takes: tuple[str, ...] = TASKS
    binary: bool = False
    threshold: float = 0.0
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

    def outputs(self, dataset: Dataset) -> int:
        """Units of the readout on a data set."""
        return 1 if self.binary and dataset.task == "classification" else dataset.outputs

    def check_task(self, dataset: Dataset, where: str) -> None:
        """Raise ConfigError where the loss is none for the targets of a data set, or takes two readings of them."""
        if dataset.task not in self.takes:
            message = f"{self.text} takes {in_words(self.takes)}, {dataset.name} has {dataset.kind}"
            hint = None
            numbered = all(name.lstrip("-").isdecimal() for name in dataset.class_names)
            if dataset.task == "classification" and dataset.targets and numbered:
                hint = "--task regression takes whole numbers as numbers to predict"
            elif dataset.task == "regression":
                hint = "name a loss with --loss, or --task classification where whole numbers name classes"
            raise ConfigError(Problem(where, message, names_for(dataset.task, dataset.classes), hint))
        if dataset.either and self.own is None and "regression" in self.takes:
            message = f"{self.text} takes classes and numbers, and {dataset.name} has whole numbers"
            named = ", ".join(dataset.targets)
            allowed = "--task classification or --task regression"
            raise ConfigError(Problem(where, f"{message} that may be either ({named})", allowed))
        if self.binary and dataset.task == "classification" and dataset.classes != 2:
            message = f"{self.text} needs two classes, {dataset.name} has {dataset.classes}"
            raise ConfigError(Problem(where, message, names_for(dataset.task, dataset.classes)))

    def check(self, dataset: Dataset, where: str) -> None:
        """Raise ConfigError where the loss cannot be taken on a data set; a user's own is tried on such targets."""
        self.check_task(dataset, where)
        if self.own is None:
            return
        import torch

        units = self.outputs(dataset)
        rows = 2 * (dataset.classes or units)
        outputs = torch.linspace(-1, 1, rows * units).reshape(1, rows, units)
        labels = torch.arange(rows).reshape(1, -1) % dataset.classes if dataset.classes else None
        targets = (torch.arange(rows * units).reshape(1, rows, units) % 2).to(outputs.dtype)
        self.begin().losses_and_gradient(outputs, targets if labels is None else labels)

    def state(self) -> dict[str, Tensor]:
        """What the next steps depend on. Raises Unstorable where that is more than tensors."""
        return self.of.state() if isinstance(self.of, _PerReplica) else {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if isinstance(self.of, _PerReplica):
            self.of.load_state(state)

    def begin(self) -> Loss:
        """The loss for one training: instances of a user's own module have nothing to do with another's."""
        return self if self.own is None else replace(self, of=_PerReplica(self.own))

    def aside(self) -> Loss:
        """The loss as it is now, for whoever looks on: a user's own does not remember these calls."""
        return self if self.own is None else replace(self, of=copy.deepcopy(self.of))


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
    """In nats, of a sigmoid readout: of one logit and labels 0 or 1, or of a logit for each of several labels at once
    (floating, [replica, batch, label]), summed over the labels, mean over the batch."""
    from torch.nn import functional

    if labels.is_floating_point():
        every = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return every.sum(dim=2).mean(dim=1)
    each = functional.binary_cross_entropy_with_logits(
        logits.squeeze(-1), labels.to(logits.dtype), reduction="none"
    )
    return each.mean(dim=1)


def mse(outputs: Tensor, labels: Tensor) -> Tensor:
    """Squared error against one-hot targets, or floating ones, summed over outputs, mean over the batch."""
    from torch.nn import functional

    targets = labels if labels.is_floating_point() else functional.one_hot(labels, outputs.shape[-1])
    return (outputs - targets.to(outputs.dtype)).square().sum(dim=2).mean(dim=1)


def mae(outputs: Tensor, targets: Tensor) -> Tensor:
    """Absolute error, summed over outputs, mean over the batch."""
    return (outputs - targets).abs().sum(dim=2).mean(dim=1)


def huber(outputs: Tensor, targets: Tensor, delta: float = 1.0) -> Tensor:
    """Huber's loss (1964), summed over outputs, mean over the batch: half the squared error up to `delta`, beyond that
    delta times (the absolute error minus delta / 2)."""
    from torch.nn import functional

    each = functional.huber_loss(outputs, targets, reduction="none", delta=delta)
    return each.sum(dim=2).mean(dim=1)


_ENTRIES = (
    Loss(
        text="cross_entropy",
        summary="minus the log of the softmax's share of the right class",
        of=cross_entropy,
        takes=("classification",),
        short_cut=_cross_entropy_and_gradient,
    ),
    Loss(
        text="binary_cross_entropy",
        summary="cross-entropy of one sigmoid output, for two classes, or of one for each of several labels at once",
        of=binary_cross_entropy,
        takes=("classification", "multilabel"),
        binary=True,
    ),
    Loss(
        text="mse",
        summary="squared error against numbers, or one-hot targets of classes, summed over the outputs",
        of=mse,
    ),
    Loss(
        text="mae",
        summary="absolute error against numbers, summed over the outputs",
        of=mae,
        takes=("regression",),
    ),
    Loss(
        text="huber",
        summary="squared error up to delta, absolute beyond, against numbers, summed over the outputs",
        of=huber,
        takes=("regression",),
        parameters={
            "delta": Parameter(
                default=1.0, meaning="error at which the square goes over into a line", low=0, open_low=True
            )
        },
    ),
)

LOSSES = Registry("loss", {loss.text: loss for loss in _ENTRIES}, own=True)

KINDS = {"classification": "classes", "regression": "numbers", "multilabel": "labels of 0 or 1"}
"""What the targets of each task are, in words."""


def in_words(tasks: Iterable[str]) -> str:
    """`classes or numbers`: the targets of these tasks."""
    return " or ".join(KINDS[task] for task in tasks if task in KINDS)


def names_for(task: str, classes: int = 0) -> str:
    """The losses that take the targets of a task, of so many classes, in words."""
    fit = [n for n, loss in LOSSES.items() if task in loss.takes and not (loss.binary and classes > 2)]
    return ", ".join([*fit, OWN])


def get(text: str, where: str = "loss", *, own: bool = False) -> Loss:
    """The loss written as `text`.

    own: whether it may be a user's own, which is then imported. Raises ConfigError naming `where`.
    """
    item = parse_item(text, where)
    if own and item.attribute is not None:
        return _users(item, where)
    chosen = LOSSES.choose(item, where)
    loss = chosen.entry
    if not loss.parameters:
        return loss
    return replace(loss, text=chosen.text, of=partial(loss.of, **chosen.values))


def _users(item: Item, where: str) -> Loss:
    """A module class, or a function, from outputs [batch, classes] and targets int64 [batch], or from outputs and
    floating targets of one shape, to one number."""
    own = load_own(item, where)
    loss = Loss(text=own.text, summary="a user's own loss", of=_PerReplica(own), own=own)
    if (known := of_torch(own)) is None:
        return loss
    return replace(loss, takes=known.takes, binary=known.binary, threshold=known.threshold)


class _PerReplica:
    """A user's own loss, called for each replica by itself, as its author expects, on an instance of its own."""

    def __init__(self, own: Own) -> None:
        self._own = own
        known = of_torch(own)
        self._floating = known is not None and known.elementwise
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
                loss = called(replica.clone(), self._targets(classes, replica))
            if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
                made = f"a tensor {[*loss.shape]}" if isinstance(loss, torch.Tensor) else type(loss).__name__
                raise self._own.refused(f"gave {made} for a batch", "one number, as a tensor")
            if loss.layout != torch.strided or loss.device != outputs.device:
                raise self._own.refused(f"gave a number on {loss.device}", f"a dense one on {outputs.device}")
            if replica.requires_grad and not loss.requires_grad:
                raise self._own.refused("gave a number without a gradient", "one made of the outputs")
            losses.append(loss.reshape(()))
        return torch.stack(losses)

    def _targets(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """A copy; of two classes 0.0 and 1.0 in the outputs' shape where torch's criterion compares entry by entry."""
        if self._floating and not targets.is_floating_point():
            return targets.to(outputs.dtype).reshape(outputs.shape)
        return targets.clone()

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
            raise own.refused("has parameters of its own, which nothing would train", "a loss without")
        return made.to(like)


def _aside(function: Callable[..., Any]) -> Callable[..., Any]:
    """As it is, and in eval mode where it is a module; a copy, so that validation leaves no trace in it."""
    import torch

    return copy.deepcopy(function).eval() if isinstance(function, torch.nn.Module) else function


def correct(outputs: Tensor, labels: Tensor, threshold: float = 0.0) -> Tensor:
    """Whether each sample is classified right: boolean [replica, batch]. An output that is NaN is never right.

    threshold: the output above which a single one is class 1
    """
    one_logit = outputs.shape[-1] == 1
    guess = (outputs.squeeze(-1) > threshold).long() if one_logit else outputs.argmax(dim=-1)
    return (guess == labels) & ~outputs.isnan().any(dim=-1)
