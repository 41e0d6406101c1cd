"""What is measured of a model's parameters: their gradients, their size, and how far an update moves them.

Parameters of one shape are put side by side and reduced together: a small reduction costs as much as a call.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from gradlab.nn import statistics as st
from gradlab.nn.statistics import Numbers
from gradlab.nn.workspace import Workspace
from gradlab.recorder.drawn import as_drawn
from gradlab.recorder.ledger import Key, Record
from gradlab.recorder.units import dense_values, is_bias, own_parameters, real
from gradlab.sensors import metrics as mt
from gradlab.tables.layers import TRAINS

Grouped = Mapping[Key, Sequence[Tensor]]
COPIED_ENTRIES = 1 << 18  # a key with more is measured where it is: copying would cost more than it saves
NARROW = (torch.float32, torch.float16, torch.bfloat16)  # their squares are sound in float64
HALVES = (torch.float16, torch.bfloat16)
BLOCK_ENTRIES = 1 << 19  # of everything put side by side: few calls, and two megabytes of float32


@dataclass
class SameShape:
    """Keys of one shape. rows: [key, replica, entry]; entries: of a key and replica, with the zeros that a sparse
    gradient does not store; copied: whether rows are memory of their own."""

    keys: Sequence[Key]
    rows: Tensor
    entries: int
    copied: bool

    @property
    def flat(self) -> Tensor:
        """[key * replica, entry], real."""
        return real(self.rows.flatten(0, 1))


class ParameterMeter:
    """The parameters of each watched module, its biases apart from the rest.

    registered: the paths that the model knows of: one in a plain list is reached by no `model.parameters()`
    stacked: every parameter carries the replica axis; metrics: "gradients", "standard" or "full"
    """

    def __init__(
        self, modules: Mapping[str, nn.Module], registered: Collection[str], *, stacked: bool, metrics: str
    ) -> None:
        self._registered = registered
        self.stacked, self.metrics, self.full = stacked, metrics, metrics == "full"
        self._workspace = Workspace()
        self._drawn: dict[Key, bool] = {}
        self.weights: dict[Key, list[nn.Parameter]] = {}
        self.biases: dict[Key, list[nn.Parameter]] = {}
        for name, module in modules.items():
            own = own_parameters(module)
            self.weights[name, 1] = [p for each, p in own.items() if not is_bias(each)]
            self.biases[name, 1] = [p for each, p in own.items() if is_bias(each)]
        self._sizes: list[tuple[SameShape, Numbers]] = []  # the weights of this record and their norms
        # weights before their update, with their norms, and the optimisers that have yet to make their step
        self._before: list[tuple[set[int], list[tuple[SameShape, Numbers]]]] = []

    def place(self, record: Record) -> None:
        """Add the modules that were not called themselves: behind their parent's last row, else at the end."""
        if not record.order:
            record.order += self.weights
            return
        called = set(record.order)
        for key in self.weights:
            if key in called:
                continue
            parent = key[0].rpartition(".")[0]
            family = [
                place
                for place, (name, _) in enumerate(record.order)
                if parent and f"{name}.".startswith(f"{parent}.")
            ]
            record.order.insert(family[-1] + 1 if family else len(record.order), key)

    def trains(self, updated: Collection[int]) -> dict[Key, int]:
        """Whether training reaches each key's parameters: places in TRAINS.

        updated: the ids of the parameters that the optimisers seen so far have; empty where none was given
        """
        found = {}
        for key, weights in self.weights.items():
            own = [each for each in (*weights, *self.biases[key]) if each.requires_grad]
            known, without = key[0] in self._registered, all(each.grad is None for each in own)
            if not own or (
                without and not known
            ):  # such as a teacher that is kept out of the parameters on purpose
                state = "frozen as drawn" if known and self._as_drawn(key) else "frozen"
            elif without:
                state = "no gradient"
            elif updated and not any(id(each) in updated for each in own):
                state = "not in the optimizer" if known else "not registered"
            else:
                state = "yes"
            found[key] = TRAINS.index(state)
        return found

    def _as_drawn(self, key: Key) -> bool:
        """Whether a frozen module's weights are those of an initialiser; asked once, since they stay as they are."""
        if key not in self._drawn:
            weights = [each for each in self.weights[key] if each.dim() > 1]
            self._drawn[key] = bool(weights) and all(as_drawn(each) for each in weights)
        return self._drawn[key]

    def commit(self, record: Record, scale: Tensor | None) -> None:
        """Put the gradients as they are now, divided by `scale` where they still carry the loss scale."""
        weights, biases = _gradients(self.weights), _gradients(self.biases)
        if self.metrics == "gradients":
            for column, gradients in zip(mt.GRADIENT_NORMS, (weights, biases), strict=True):
                for keys, norms in self._norms(gradients):
                    record.put(keys, {column: mt.unscaled(norms, scale)})
            return
        for block in self._blocks(weights):
            found = mt.weight_gradient(block.flat, self._workspace, self.full, block.entries, scale)
            record.put(block.keys, found)
            _count_nonfinite(record, block.keys, found["weight_grad_norm"], [block])
        for keys, norms in self._norms(biases):
            record.put(keys, {mt.GRADIENT_NORMS[1]: mt.unscaled(norms, scale)})
            _count_nonfinite(record, keys, norms, self._blocks({key: biases[key] for key in keys}))
        self._sizes = []
        for block in self._blocks(self.weights, held=True):
            found = self._size(block)
            self._sizes.append((block, found["weight_norm"]))
            record.put(block.keys, found)

    def _norms(self, grouped: Grouped) -> Iterator[tuple[Sequence[Key], Numbers]]:
        """Keys and their norms, [key * replica]. Where the formats allow it, every tensor is read once, where it is, in
        float64, which holds the squares of a narrower format."""
        every = [x for found in grouped.values() for x in found]
        kinds = {(x.dtype, x.layout, x.device) for x in every}
        if (
            self.stacked
            or len(kinds) != 1
            or every[0].dtype not in NARROW
            or every[0].layout != torch.strided
        ):
            for block in self._blocks(grouped):
                yield block.keys, self._workspace.norm(block.flat)
            return
        each = list(torch._foreach_norm(every, 2, st.wide_dtype(every[0])))
        if len(every) > len(grouped):
            parts = iter(each)
            each = [torch.stack([*islice(parts, len(found))]).norm() for found in grouped.values()]
        yield tuple(grouped), torch.stack(each)

    def _size(self, block: SameShape) -> mt.Found:
        return mt.weight_size(block.flat, self._workspace)

    def before_update(self, updates: Iterable[set[int]]) -> None:
        """Remember the weights that optimisers are about to change: the ids of each one's parameters. Where several
        change parts of one module, the update is complete with the last of them."""
        each = list(updates)
        shared: dict[frozenset[int], dict[Key, list[nn.Parameter]]] = {}
        for key, weights in self.weights.items():
            by = frozenset(
                which for which, ids in enumerate(each) if any(id(weight) in ids for weight in weights)
            )
            if by:
                shared.setdefault(by, {})[key] = weights
        known = {id(block): sizes for block, sizes in self._sizes}
        held = [block for block, _ in self._sizes]
        for by, mine in shared.items():
            whole = len(mine) == sum(len(block.keys) for block in held)
            kept = []
            for block in held if whole else self._blocks(mine):
                sizes = known[id(block)] if whole else self._size(block)["weight_norm"]
                rows = block.rows if whole and block.copied else block.rows.clone()
                # a difference would be rounded to the format of the weights
                rows = rows.float() if rows.dtype in HALVES else rows
                kept.append((SameShape(block.keys, rows, block.entries, True), sizes))
            self._before.append((set(by), kept))
        self._sizes = []

    def after_update(self, record: Record, which: int) -> None:
        """Put how far the weights moved whose last update was that of the optimiser `which`."""
        for awaited, kept in self._before:
            if which in awaited:
                awaited.discard(which)
                if not awaited:
                    for before, sizes in kept:
                        self._put_update(record, before, sizes)

    def _put_update(self, record: Record, before: SameShape, sizes: Numbers) -> None:
        own = [self.weights[key] for key in before.keys]
        if all(len(weights) == 1 for weights in own):
            then = before.rows.view(len(own), *own[0][0].shape).unbind()
            torch._foreach_sub_(then, [weights[0].detach() for weights in own])
        else:
            (now,) = self._blocks({key: self.weights[key] for key in before.keys})
            before.rows.sub_(now.rows)
        record.put(before.keys, mt.update(before.flat, sizes, self._workspace, self.full))

    def forget_update(self) -> None:
        self._before, self._sizes = [], []

    def rest(self) -> None:
        """Give back the memory that is kept from record to record."""
        self._workspace.clear()

    # -- blocks ----------------------------------------------------------------------------------------------

    def _blocks(self, grouped: Grouped, held: bool = False) -> Iterator[SameShape]:
        """What is under each key as rows of blocks; keys with nothing are left out.

        The next block is written over a block's memory; over that of blocks which are `held`, the next held ones.
        """
        for number, (keys, entries) in enumerate(self._split(grouped)):
            tensors = [grouped[key] for key in keys]
            if len(keys) == 1:
                rows, copied = self._joined(tensors[0]).unsqueeze(0), len(tensors[0]) > 1
            else:
                rows, copied = self._beside(tensors, number if held else "rows"), True
            yield SameShape(keys, rows, entries // rows.shape[1], copied)

    def _split(self, grouped: Grouped) -> Iterator[tuple[Sequence[Key], int]]:
        """The keys of each block and the entries of one of them."""
        alike: dict[object, list[Key]] = {}
        for key, found in grouped.items():
            if found:
                alike.setdefault(self._likeness(key, found), []).append(key)
        for keys in alike.values():
            entries = sum(x.numel() for x in grouped[keys[0]])
            most = max(BLOCK_ENTRIES // max(entries, 1), 1)
            yield from ((tuple(keys[at : at + most]), entries) for at in range(0, len(keys), most))

    def _beside(self, tensors: Sequence[Sequence[Tensor]], use: Hashable) -> Tensor:
        """What several keys have, all of one shape, as [key, replica, entry]."""
        if len(tensors[0]) > 1:
            return torch.stack([self._joined(found) for found in tensors])
        first = tensors[0][0]
        space = self._workspace.empty(use, (len(tensors), *first.shape), first)
        rows = torch.stack([found[0].detach() for found in tensors], out=space)
        return rows.flatten(2) if self.stacked else rows.reshape(len(tensors), 1, -1)

    def _likeness(self, key: Key, found: Sequence[Tensor]) -> object:
        """Equal for keys that share a block; the key itself for what has a block of its own."""
        first = found[0]
        if sum(x.numel() for x in found) > COPIED_ENTRIES:
            return key
        if any(
            x.layout != torch.strided or x.dtype != first.dtype or x.device != first.device for x in found
        ):
            return key
        return tuple(x.shape for x in found), first.dtype, first.device

    def _joined(self, tensors: Sequence[Tensor]) -> Tensor:
        """Several tensors as one of [replica, entry]."""
        flat = [self._whole(dense_values(x)) for x in tensors]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)

    def _whole(self, x: Tensor) -> Tensor:
        x = x.detach()
        return x.flatten(1) if self.stacked else x.reshape(1, -1)


def _count_nonfinite(
    record: Record, keys: Sequence[Key], norms: Numbers, blocks: Iterable[SameShape]
) -> None:
    """Put how many entries are not finite; `blocks` are looked at where the norms are not, or where asking waits."""
    record.put_zero(keys, mt.NONFINITE)
    if not st.surely_finite(st.as_tensor(norms)):
        for block in blocks:
            record.put(block.keys, {mt.NONFINITE: st.nonfinite(block.flat)})


def _gradients(parameters: Mapping[Key, Sequence[nn.Parameter]]) -> dict[Key, list[Tensor]]:
    """The gradients there are, of the keys that have any."""
    found = {key: [x for p in own if (x := p.grad) is not None] for key, own in parameters.items()}
    return {key: tensors for key, tensors in found.items() if tensors}
