"""attention.csv of any model: the attention of the probe's forward pass, its records, and their rows.

Attention is `F.scaled_dot_product_attention`, torch's `F.multi_head_attention_forward` (so `nn.MultiheadAttention`,
which leaves its fast path while functions are watched), and a softmax whose input comes from the product of two
activations and whose output goes into a product again. All of it is seen as function calls; the numbers come from the
first samples of the probe, as those of `sample_correlation` do.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from gradlab.recorder.calls import ALONG_AN_AXIS
from gradlab.recorder.compiled import plain_name
from gradlab.recorder.ledger import Key, row_name
from gradlab.recorder.units import every_module
from gradlab.sensors.metrics import COMPARED_SAMPLES
from gradlab.tables.attention import ATTENTION
from gradlab.tables.table import Table

ENTRIES = 1 << 19
"""Weights of one call that are looked at, at least one sample's: more would cost as much as a large model's step."""

MASKED_BELOW = 5e3
"""A number so far below 0 stands for a mask: -1e4 is the smallest that is in use (BERT), the others are -1e9 and the
format's own lowest. Where logits are that large themselves, a mask lies below twice the largest: products of queries
and keys reach as far below 0 as above."""

PRODUCTS = frozenset(
    {
        torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, torch.bmm, Tensor.bmm, torch.mm, Tensor.mm,
        torch.baddbmm, Tensor.baddbmm, torch.einsum,
    }
)  # fmt: skip
SOFTMAX = frozenset(face for face, name in ALONG_AN_AXIS.items() if name == "softmax")


@dataclass(frozen=True)
class Heads:
    """One call of attention. entropy, logit_max: [head]; the others as the table has them"""

    function: str
    head_dim: int
    keys: int
    entropy: Any
    logit_max: Any


@dataclass(frozen=True)
class _Logits:
    """What a tensor is, on the way from the product of queries and keys to the softmax. head_dim: of these"""

    head_dim: int


class Attention:
    """Watches attention in the passes of a probe. A model without any costs a look-up for each function it calls."""

    def __init__(self, model: nn.Module, seeds: Sequence[int]) -> None:
        self.model, self.seeds = model, tuple(seeds)
        self._paths: dict[nn.Module, str] | None = None  # of the model's modules, until `look`
        self.records: list[tuple[int, dict[Key, Heads]]] = []
        self._found: dict[Key, Heads] = {}
        self._counts: dict[str, int] = {}
        # by the memory of what it is: logits, or weights with what was measured of them
        self._known: dict[int, tuple[StorageWeakRef, _Logits | Heads]] = {}

    def look(self) -> None:
        """The model's modules are others from now on."""
        self._paths = None

    # -- the probe's pass ------------------------------------------------------------------------------------

    def called(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        out: Any,
        batch: int | None,
    ) -> None:
        """After a call of any torch function. batch: how many samples the probe has"""
        with torch._C.DisableTorchFunction():
            if func in PRODUCTS:
                self._product(args, kwargs, out)
            elif func is F.scaled_dot_product_attention:
                self._take(_of_products(batch, *args, **kwargs))
            elif func is F.multi_head_attention_forward:
                self._take(_of_torch(args, kwargs))
            elif self._known:
                self._pass_on(func, args, kwargs, out, batch)

    def _product(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        given = [each for each in _tensors((*args, *kwargs.values())) if each.layout == torch.strided]
        if len(given) < 2 or not isinstance(out, Tensor):
            return
        for each in given:
            if isinstance(weights := self._what(each), Heads):
                del self._known[
                    each.untyped_storage()._cdata
                ]  # one attention, however many products it goes into
                self._take(weights)
                return
        queries, keys = given[-2:]  # `baddbmm` has what it adds in front
        if out.dim() > 1 and out.is_floating_point() and not (_learned(queries) or _learned(keys)):
            self._remember(out, _Logits(queries.shape[-1] if queries.dim() else 1))

    def _pass_on(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any, batch: int | None
    ) -> None:  # fmt: skip
        """What is made of logits or of weights, entry by entry, still is what they are."""
        if not isinstance(out, Tensor) or out.layout != torch.strided:
            return
        for each in _tensors((*args, *kwargs.values())):
            what = self._what(each)
            if what is None or out.numel() != each.numel():
                continue
            if func in SOFTMAX and isinstance(what, _Logits):
                axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
                what = _by_head(
                    "softmax", each.movedim(axis if isinstance(axis, int) else -1, -1), what.head_dim, batch
                )
            if what is not None:
                self._remember(out, what)
            return

    def _what(self, tensor: Tensor) -> _Logits | Heads | None:
        if tensor.layout != torch.strided:
            return None
        found = self._known.get(tensor.untyped_storage()._cdata)
        return None if found is None else found[1]

    def _remember(self, tensor: Tensor, what: _Logits | Heads) -> None:
        memory = tensor.untyped_storage()
        self._known[memory._cdata] = (StorageWeakRef(memory), what)  # type: ignore[no-untyped-call]

    def _take(self, heads: Heads | None) -> None:
        if heads is None:
            return
        if self._paths is None:
            self._paths = {module: plain_name(name) for name, module in every_module(self.model)[0].items()}
        name = _where(self._paths)
        self._counts[name] = number = self._counts.get(name, 0) + 1
        self._found[name, number] = heads

    def forget(self) -> None:
        self._found, self._counts, self._known = {}, {}, {}

    # -- the records -----------------------------------------------------------------------------------------

    def commit(self, step: int) -> None:
        """What was seen is the record of a step."""
        if self._found:
            self.records.append((step, {key: _on_host(heads, False) for key, heads in self._found.items()}))
        self.forget()

    def settle(self) -> None:
        """Move what waits on a device to the host."""
        self.records = [
            (step, {k: _on_host(heads, True) for k, heads in found.items()}) for step, found in self.records
        ]

    def table(self) -> Table:
        """The rows by seed, step, attention in order of execution, and head."""
        self.settle()
        rows = [
            (
                seed, step, row_name(key), head + 1, heads.function, heads.head_dim, heads.keys, heads.entropy[head],
                heads.logit_max[head],
            )
            for seed in self.seeds
            for step, found in self.records
            for key, heads in found.items()
            for head in range(len(heads.entropy))
        ]  # fmt: skip
        kinds: dict[str, Any] = {"int": np.int64, "str": object, "float": np.float64}
        columns: dict[str, NDArray[Any]] = {
            name: np.array([row[place] for row in rows], dtype=kinds[ATTENTION.kinds[name]])
            for place, name in enumerate(ATTENTION.every)
        }
        empty = [column.name for column in ATTENTION.columns if column.empty]
        return Table(columns, {name: ~np.isnan(columns[name]) for name in empty}, ATTENTION.kinds)


def _on_host(heads: Heads, wait: bool) -> Heads:
    """With its numbers as arrays; wait: also where they are on a device."""
    if not isinstance(heads.entropy, Tensor) or not (wait or heads.entropy.device.type == "cpu"):
        return heads
    return replace(heads, entropy=_copied(heads.entropy), logit_max=_copied(heads.logit_max))


def _copied(numbers: Tensor) -> NDArray[np.float64]:
    """An array of its own: one that shares a tensor's memory keeps the tensor."""
    return np.array(numbers.cpu().numpy())


# -- from logits to numbers ----------------------------------------------------------------------------------


def measured(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(entropy as a share of its maximum, largest logit) of each head, [head] each. logits: [sample, head, query, key]

    The maximum is the logarithm of how many entries a row's mask allows. Rows with fewer than two have nothing to
    choose from and do not count; a head of which no row counts has nan. So has one with a logit that is nan or inf.
    """
    wide = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
    largest = wide.amax().clamp(min=0)
    allowed = ~(wide <= -(MASKED_BELOW + 2 * largest))  # what is not a number counts, and shows
    count = allowed.sum(-1)
    top = wide.masked_fill(~allowed, -torch.inf).amax(-1, keepdim=True)
    below = (wide - top).masked_fill_(~allowed, -torch.inf)
    shares = below.exp()
    whole = shares.sum(-1)
    spent = shares.mul_(below.masked_fill_(~allowed, 0.0)).sum(-1)
    entropy = (whole.log() - spent / whole).double()
    counts = count > 1
    share = torch.where(counts, entropy / count.clamp(min=2).double().log(), 0.0)
    number = counts.sum((0, 2))
    mean = torch.where(number > 0, share.sum((0, 2)) / number, torch.nan)
    most = top[..., 0].masked_fill(count == 0, -torch.inf).amax((0, 2)).double()
    return mean, torch.where(most == -torch.inf, torch.nan, most)


def _by_head(function: str, logits: Tensor, head_dim: int, batch: int | None) -> Heads | None:
    """logits: [..., query, key]; the axis in front of them counts heads. With three axes the first one counts samples,
    or heads within samples, as torch's own attention has them. batch: the samples of the probe"""
    if not logits.numel() or logits.dim() < 2 or not logits.is_floating_point():
        return None
    *outer, queries, keys = logits.shape
    if len(outer) == 1 and batch and outer[0] > batch and outer[0] % batch == 0:
        outer = [batch, outer[0] // batch]
    heads = outer[-1] if len(outer) > 1 else 1
    grouped = logits.reshape(-1, heads, queries, keys)
    entropy, largest = measured(grouped[: _samples(heads * queries * keys)])
    return Heads(function, head_dim, keys, entropy, largest)


def _samples(entries: int) -> int:
    """How many samples are looked at, of so many weights each."""
    return max(1, min(COMPARED_SAMPLES, ENTRIES // max(entries, 1)))


def _of_products(
    batch: int | None, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Heads | None:  # fmt: skip
    """Of `F.scaled_dot_product_attention`, with its arguments."""
    if query.is_nested or key.is_nested or query.dim() < 2 or not query.numel():
        return None
    length, width, keys = query.shape[-2], query.shape[-1], key.shape[-2]
    samples = query.shape[0] if query.dim() > 2 else 1
    kept = _samples(query.numel() // width * keys // samples)
    if query.dim() == 3 and batch and samples > batch and samples % batch == 0:
        kept *= samples // batch  # the heads stand behind the samples of one axis
        batch = kept // (samples // batch)

    def first(tensor: Tensor) -> Tensor:
        return tensor[:kept] if tensor.dim() == query.dim() > 2 and len(tensor) == samples else tensor

    q, k = first(query), first(key)
    if enable_gqa and k.shape[-3] != q.shape[-3]:
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
    logits = q @ k.transpose(-2, -1) * (width**-0.5 if scale is None else scale)
    if is_causal:
        above = torch.ones(length, keys, dtype=torch.bool, device=q.device).triu(1)
        logits = logits.masked_fill(above, -torch.inf)
    if attn_mask is not None:
        mask = first(attn_mask)
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    return _by_head(F.scaled_dot_product_attention.__name__, logits, width, batch)


class _Softmax(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps what goes into a softmax inside one of torch's functions."""

    logits: Tensor | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._softmax.default:
            self.logits = args[0]
        return func(*args, **(kwargs or {}))


def _of_torch(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Heads | None:
    """Of `F.multi_head_attention_forward`, called once more with the weights asked for, on the first samples alone."""
    query, key, value, width, heads, *rest = args
    kwargs = {**kwargs, "need_weights": True, "average_attn_weights": False}
    given = [query, key, value]
    if query.dim() == 3 and kwargs.get("static_k") is None and kwargs.get("static_v") is None:
        kept = _samples(heads * query.shape[0] * key.shape[0])
        given = [each[:, :kept] for each in given]
        padding, mask = kwargs.get("key_padding_mask"), kwargs.get("attn_mask")
        if padding is not None:
            kwargs["key_padding_mask"] = padding[:kept]
        if mask is not None and mask.dim() == 3 and len(mask) == query.shape[1] * heads:
            kwargs["attn_mask"] = mask[: kept * heads]
    attend: Any = F.multi_head_attention_forward
    with _Softmax() as seen:  # type: ignore[no-untyped-call]
        attend(*given, width, heads, *rest, **kwargs)
    if seen.logits is None or not seen.logits.numel():
        return None
    logits = seen.logits.reshape(-1, heads, *seen.logits.shape[-2:])
    entropy, largest = measured(logits)
    function = F.multi_head_attention_forward.__name__
    return Heads(function, width // heads, logits.shape[-1], entropy, largest)


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    """The tensors among the arguments of a function, also those in a list."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [each for each in value if isinstance(each, Tensor)]
    return found


def _learned(tensor: Tensor) -> bool:
    """Whether it is a parameter, as it is or turned: a product with one is a layer."""
    return isinstance(tensor, nn.Parameter) or isinstance(tensor._base, nn.Parameter)


def _where(paths: Mapping[nn.Module, str]) -> str:
    """The path of the innermost module whose method is running; "" for the model itself, and where none is."""
    frame = sys._getframe(1)
    while frame is not None:
        own = frame.f_locals.get("self")
        if isinstance(own, nn.Module) and own in paths:
            return paths[own]
        frame = frame.f_back  # type: ignore[assignment]
    return ""
