"""What is known of an update before it is made: its loss, its rate, its gradients as a whole."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradlab.base.errors import ConfigError, Problem
from gradlab.nn.statistics import wide_dtype
from gradlab.recorder.checks import parameters_of
from gradlab.recorder.task import Facts
from gradlab.recorder.units import dense_values, real


def facts_of_step(
    model: nn.Module,
    optimizers: Sequence[Optimizer],
    scale: Tensor | None,
    before: Mapping[int, int],
    accumulation: int,
) -> Facts:
    """Columns of steps.csv. scale: what the gradients still carry; before: `versions_of_gradients` after the last step;
    accumulation: backward passes of an update."""
    found = [(id(each), each.grad) for each in model.parameters()]
    gradients = [gradient for _, gradient in found if gradient is not None]
    stepping = {id(each) for optimizer in optimizers for each in parameters_of(optimizer)}
    own = [gradient for number, gradient in found if gradient is not None and number in stepping]
    facts: Facts = {}
    rate = optimizers[0].param_groups[0].get("lr") if optimizers else None
    if rate is not None:  # not every optimiser has one
        facts["learning_rate"] = rate
    if gradients:
        norm = _norm(gradients)
        facts["grad_norm"] = norm if scale is None else norm / scale.to(norm.device)
    if before and own:
        # Autograd adds to a gradient that is there; zeroing writes to it once more, or puts another in its place.
        kept = sum(before.get(id(each), -2) + accumulation == each._version for each in own)
        facts["carried_gradients"] = kept / len(own)
    return facts


def versions_of_gradients(model: nn.Module) -> dict[int, int]:
    """How often each gradient has been written to, by its id."""
    return {id(each.grad): each.grad._version for each in model.parameters() if each.grad is not None}


def loss_of(loss: Tensor | float, replicas: int) -> Tensor | float:
    """The loss as one number or one a replica, without its graph. Raises ConfigError for anything else."""
    if isinstance(loss, Tensor) and loss.numel() in (1, replicas) and not loss.is_complex():
        return loss.detach().clone().reshape(-1 if loss.numel() > 1 else ())
    if isinstance(loss, int | float):
        return float(loss)
    made = f"a tensor {[*loss.shape]}" if isinstance(loss, Tensor) else type(loss).__name__
    raise ConfigError(
        Problem("loss", f"{made} is no loss", "one number: the loss that backward was called on")
    )


def in_closure() -> bool:
    """Whether an optimiser's step is calling, which evaluates the closure it was given."""
    frame = sys._getframe(1)
    while (caller := frame.f_back) is not None:
        frame = caller
        if frame.f_code.co_name == "step" and isinstance(frame.f_locals.get("self"), Optimizer):
            return True
    return False


def _norm(gradients: Sequence[Tensor]) -> Tensor:
    """Of all gradients together; each is read once, where it is, and its squares are summed in float64."""
    flat = [real(dense_values(each)) for each in gradients]
    norms = torch._foreach_norm(flat, 2, wide_dtype(flat[0]))
    found: Tensor = torch.stack([each.to(norms[0].device) for each in norms]).norm()
    return found
