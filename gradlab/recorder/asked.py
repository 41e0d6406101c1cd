"""What a criterion and a model are asked once, beside the records: does each wrong sample pull at the net, does a
sample's output depend on the other samples, and is it the same when it is asked for again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.recorder.evaluation import evaluation
from gradlab.recorder.units import call, tensors

PULLED = 64
"""Samples of the probe whose gradients are looked at: of a share of one in ten six are among them."""


def unpulled(
    criterion: Callable[[Any, Any], Any], outputs: Tensor, targets: Any, baseline: float
) -> float | None:
    """Share of the samples that are worse off than under the best constant output and get a gradient of exactly 0; None
    where the criterion takes no single samples.

    Such samples teach nothing: their outputs are behind a clamp, a threshold, a rounding, or beyond the side that a
    margin loss looks at. A sample that is right (a hinge that is satisfied) or that is left out (a mask) has no larger
    loss than the best constant. outputs: [sample, ...]; baseline: the best constant's loss of all of them
    """
    rows = min(len(outputs), PULLED)
    if not isinstance(targets, Tensor) or targets.dim() == 0 or len(targets) != len(outputs) or rows < 2:
        return None
    some = outputs[:rows].detach().clone().requires_grad_(True)
    with torch.enable_grad():
        loss = torch.as_tensor(criterion(some, targets[:rows])).sum()
        gradient = torch.autograd.grad(loss, some, allow_unused=True)[0] if loss.requires_grad else None
    still = (
        torch.ones(rows, dtype=torch.bool)
        if gradient is None
        else (gradient.reshape(rows, -1) == 0).all(1).cpu()
    )
    if not still.any():
        return 0.0
    with torch.no_grad():
        alone = torch.stack(
            [
                torch.as_tensor(criterion(some[i : i + 1], targets[i : i + 1])).double().mean().cpu()
                for i in range(rows)
            ]
        )
        whole = float(torch.as_tensor(criterion(outputs, targets)).double().mean())
    known = alone[alone.isfinite()]
    summed = len(known) == rows == len(outputs) and abs(whole - float(known.sum())) < abs(
        whole - float(known.mean())
    )
    level = baseline / len(outputs) if summed else baseline
    return float((still & (alone > level)).double().mean())


def of_others(model: nn.Module, probe: Any) -> tuple[float, float] | None:
    """How far the outputs of the probe's second half differ when the first half is not there, and how far they differ
    when they are asked for again, each as a share of the outputs' deviation over samples; in eval mode. None where
    nobody can tell: no samples along the first axis of inputs and outputs, or outputs that are all the same.

    The second half, since a recurrent layer that takes samples for steps hands its state on from the first.
    """
    whole = probe if isinstance(probe, tuple | Mapping) else (probe,)
    parts = list(whole.values()) if isinstance(whole, Mapping) else list(whole)
    count = next((len(each) for each in parts if isinstance(each, Tensor) and each.dim()), 0)
    if count < 4:
        return None

    def late(each: Any) -> Any:
        return each[count // 2 :] if isinstance(each, Tensor) and each.dim() and len(each) == count else each

    half = (
        {k: late(v) for k, v in whole.items()}
        if isinstance(whole, Mapping)
        else tuple(late(v) for v in parts)
    )
    with evaluation(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            first, again, rest = (_output(model, given) for given in (whole, whole, half))
        except Exception:  # a model may take no other number of samples
            return None
    if (
        first is None
        or again is None
        or rest is None
        or len(first) != count
        or first.shape[1:] != rest.shape[1:]
    ):
        return None
    if len(rest) != count - count // 2:
        return None
    spread = float(first.std(dim=0, correction=0).square().mean().sqrt())
    if not 0 < spread < torch.inf:
        return None
    late_first = first[count // 2 :]
    other, again_other = (
        float((x - y).square().mean().sqrt()) / spread for x, y in ((late_first, rest), (first, again))
    )
    return other, again_other


def _output(model: nn.Module, given: Any) -> Tensor | None:
    found = tensors(call(model, given))
    if not found or not found[0].dim() or found[0].is_complex():
        return None
    return found[0].detach().double()
