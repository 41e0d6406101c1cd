"""Training losses: one number a replica, a mean over the batch, so that gradients stay per replica."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

aten = torch.ops.aten
NO_REDUCTION, IGNORED = 0, -100  # torch's own: every sample's loss, and the label that counts for nothing

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """[replica, batch, class] and [replica, batch] -> [replica], in nats."""
    replicas, batch, classes = logits.shape
    each = functional.cross_entropy(logits.reshape(-1, classes), labels.reshape(-1), reduction="none")
    return each.reshape(replicas, batch).mean(dim=1)


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """[replica, batch, 1] logits of a sigmoid readout and labels 0 or 1 -> [replica], in nats."""
    each = functional.binary_cross_entropy_with_logits(
        logits.squeeze(-1), labels.to(logits.dtype), reduction="none"
    )
    return each.mean(dim=1)


def mse(outputs: Tensor, labels: Tensor) -> Tensor:
    """Squared error against one-hot targets, summed over outputs, mean over the batch -> [replica]."""
    targets = functional.one_hot(labels, outputs.shape[-1]).to(outputs.dtype)
    return (outputs - targets).square().sum(dim=2).mean(dim=1)


def losses_and_gradient(loss: Loss, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each replica, and the gradient of their sum with respect to the outputs (which are detached)."""
    if loss is cross_entropy:
        return _cross_entropy_and_gradient(outputs.detach(), labels)
    outputs = outputs.detach().requires_grad_(True)
    losses = loss(outputs, labels)
    (gradient,) = torch.autograd.grad(losses.sum(), outputs)
    return losses.detach(), gradient


def _cross_entropy_and_gradient(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """By the kernels that autograd would run, on the same operands, without a graph: the same bits in half the time."""
    replicas, batch, classes = logits.shape
    chosen = labels.reshape(-1)
    logs = aten._log_softmax(logits.reshape(-1, classes), 1, False)
    each, weight = aten.nll_loss_forward(logs, chosen, None, NO_REDUCTION, IGNORED)
    share = logits.new_full((replicas * batch,), 1.0 / batch)
    down = aten.nll_loss_backward(share, logs, chosen, None, NO_REDUCTION, IGNORED, weight)
    gradient = aten._log_softmax_backward_data(down, logs, 1, logits.dtype)
    return each.view(replicas, batch).mean(dim=1), gradient.view(logits.shape)


def gradient_of(loss: Loss, outputs: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the losses of all replicas, added up, with respect to the outputs (which are detached)."""
    return losses_and_gradient(loss, outputs, labels)[1]


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": mse,
}


def readout_units(loss: str, classes: int) -> int:
    """Units of the readout: one logit for binary cross-entropy, else one for each class."""
    return 1 if loss == "binary_cross_entropy" else classes


def correct(outputs: Tensor, labels: Tensor) -> Tensor:
    """Whether each sample is classified right: boolean [replica, batch]. An output that is NaN is never right."""
    one_logit = outputs.shape[-1] == 1
    guess = (outputs.squeeze(-1) > 0).long() if one_logit else outputs.argmax(dim=-1)
    return (guess == labels) & ~outputs.isnan().any(dim=-1)
