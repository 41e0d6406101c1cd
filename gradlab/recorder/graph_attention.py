"""Attention in autograd's graph: torch's own functions, and two products of matrices with a softmax between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlab.recorder.graph_rules import Fields, NoRule, Operand, Rule, name_of, operands_of
from gradlab.theory.backward.attention import Attention
from gradlab.theory.backward.field import Field, permuted

Array = NDArray[np.float64]
Found = tuple[Rule, Sequence[Operand | None], set[int]]
"""The rule, whose results go to queries, keys and values; the nodes between, by their numbers."""

SOFTMAX = ("Softmax", "SafeSoftmax")
PASSING = ("View", "UnsafeView", "ReshapeAlias", "Expand", "Clone", "ToCopy", "NativeDropout", "Mul", "Div", "Add",
           "MaskedFill", "Where", "Squeeze", "Unsqueeze", "Baddbmm")  # fmt: skip
"""What may stand between the softmax and the products: scales, masks, dropout."""

MOST_HEADS, MOST_NUMBERS = 8, 2**22
"""Heads and samples that the moments are taken of, and the largest tensor on the way."""
MOST_POSITIONS = 2048


def attention_at(node: Any, operands: Sequence[Operand | None]) -> Found | None:
    """None where the node is no attention. Raises NoRule for one that there is no theory for."""
    name = name_of(node)
    if name.startswith("ScaledDotProduct"):
        return _fused(node, operands)
    return _written(node, operands) if name == "Bmm" else None


def _fused(node: Any, operands: Sequence[Operand | None]) -> Found:
    q, k, v = (_heads(getattr(node, f"_saved_{name}")) for name in ("query", "key", "value"))
    if not len(q) == len(k) == len(v):  # grouped queries
        raise NoRule
    scale = node._saved_scale
    scale = q.shape[-1] ** -0.5 if scale is None else float(scale)
    logits = scale * q @ k.transpose(-1, -2)
    mask = getattr(node, "_saved_attn_mask", None)
    mask = getattr(node, "_saved_attn_bias", None) if mask is None else mask
    if mask is not None:
        whole = mask.expand(*node._saved_query.shape[:-2], *mask.shape[-2:])
        chosen = _chosen(whole.reshape(-1, *whole.shape[-2:]), len(q))
        logits = logits.masked_fill(~chosen, -torch.inf) if chosen.dtype == torch.bool else logits + chosen
    if node._saved_is_causal:
        logits = logits.masked_fill(torch.ones_like(logits[0], dtype=torch.bool).triu(1), -torch.inf)
    attention = _attention(torch.softmax(logits, -1), q, k, v, scale)
    units = q.shape[-1]
    return _rule(attention, units, turned=False), operands[:3], set()


def _written(node: Any, operands: Sequence[Operand | None]) -> Found | None:
    """softmax(scale q k^T) v, written out."""
    upper, scale, between = operands[0], 1.0, set[int]()
    while upper is not None and name_of(upper.node) not in SOFTMAX:
        if name_of(upper.node) not in PASSING or name_of(upper.node) in ("Add", "Baddbmm"):
            return None
        between.add(upper.node._sequence_nr())
        upper = operands_of(upper.node)[0]
    if upper is None:
        return None
    softmax = upper.node
    between.add(softmax._sequence_nr())
    lower = operands_of(softmax)[0]
    while lower is not None and name_of(lower.node) != "Bmm":
        name, below = name_of(lower.node), operands_of(lower.node)
        others = [each for each in below if each is not None]
        if name not in PASSING or len(others) != 1:  # a bias that is learned has a gradient of its own
            return None
        if name in ("Mul", "Div"):
            other = lower.node._saved_other
            if isinstance(other, Tensor) and other.numel() != 1:
                return None
            scale = scale * float(other) if name == "Mul" else scale / float(other)
        between.add(lower.node._sequence_nr())
        lower = others[0]
    if lower is None:
        return None
    between.add(lower.node._sequence_nr())
    q, k = _heads(lower.node._saved_self), _heads(lower.node._saved_mat2.transpose(-1, -2))
    weights, v = softmax._saved_result, _heads(node._saved_mat2)
    weights = _heads(weights.reshape(-1, *weights.shape[-2:]))
    if not len(q) == len(k) == len(v) == len(weights):
        raise NoRule
    attention = _attention(weights, q, k, v, scale)
    products = operands_of(lower.node)
    return _rule(attention, q.shape[-1], turned=True), [*products[:2], operands[1]], between


def _rule(attention: Attention, units: int, turned: bool) -> Rule:
    """turned: the keys are [unit, position], as a product of matrices takes them"""

    def back(fields: Fields) -> Fields:
        field = fields[0]
        if field is None:
            return [None] * 3
        queries, keys, values = attention.back(field, units)
        return [queries, _turned(keys) if turned else keys, values]

    return back


def _turned(field: Field) -> Field:
    last = len(field.dims) - 1
    return replace(permuted(field, [*range(last - 1), last, last - 1]))


def _attention(weights: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Attention:
    arrays: list[Array] = [each.detach().double().cpu().numpy() for each in (weights, q, k, v)]
    return Attention.of(arrays[0], arrays[1], arrays[2], arrays[3], scale)


def _heads(x: Tensor) -> Tensor:
    """Some heads of some samples, [head, position, unit]."""
    if x.dim() < 3 or x.shape[-2] > MOST_POSITIONS:
        raise NoRule
    whole = x.detach().reshape(-1, *x.shape[-2:])
    each = x.shape[-2] * max(x.shape[-2], x.shape[-1] ** 2)
    return _chosen(whole, max(1, min(len(whole), MOST_HEADS, MOST_NUMBERS // each)))


def _chosen(whole: Tensor, count: int) -> Tensor:
    """So many, evenly spread."""
    return whole[torch.linspace(0, len(whole) - 1, count, device=whole.device).round().long()]
