"""Several processes that train one model: what makes a record the whole batch's and the whole parameter's.

Ranks talk to each other in recorded steps and when the recording ends, over a group of their own on the host, so that
a rank that fails to come is never mistaken for a part of the training's own communication.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, TypeVar
from warnings import warn

import torch
from torch import Tensor, distributed, nn

from gradlab.base.errors import ConfigError, GradlabError, Problem
from gradlab.recorder.ledger import Key
from gradlab.recorder.passes import Call, ForwardPass
from gradlab.recorder.through_time import OfPasses, on_host
from gradlab.recorder.way_down import Share, Way

Found = TypeVar("Found")
ALL, OWN = "all", "own"
WORDS = (ALL, OWN)

AGREED_WITHIN = timedelta(seconds=60)
"""How long a rank waits at its first record for the others to come to theirs: after a backward pass that all of them
take part in they are no further apart than a host that runs ahead of its device."""

GONE_AFTER = timedelta(minutes=10)
"""How long a rank waits for the others later on: as long as PyTorch waits in training on GPUs."""

_recorders = Counter[tuple[int, ...]]()
"""How many have begun in this process, by the ranks that they may talk to."""


@dataclass
class OfRank:
    """What a rank has of a recorded step: its passes, whether its weights have changed since the backward pass, its
    loss (None without one), and the series of its recurrent layers."""

    step: int
    passes: list[ForwardPass]
    late: bool
    loss: Tensor | float | None
    time: OfPasses


class Processes:
    """The ranks that train a model together.

    given: the model as the loop calls it; word: "all", "own" (this rank's numbers alone), or None: all where the model
    is inside DistributedDataParallel or has sharded parameters
    """

    def __init__(self, given: nn.Module, model: nn.Module, word: str | None) -> None:
        self._group: Any = None
        self._ranks: tuple[int, ...] = ()  # that may record together
        self._rank = self._number = 0
        self._names = sha256(repr([name for name, _ in model.named_parameters()]).encode()).hexdigest()
        self._sharded = any(map(is_sharded, model.parameters()))
        if word == OWN and self._sharded:
            hint = "record on every rank, and leave processes out"
            raise ConfigError(
                Problem("processes", "own, of a model whose parameters lie on several processes", ALL, hint)
            )
        if word == OWN or not (distributed.is_available() and distributed.is_initialized()):
            return
        ranks = _ranks(given, model)
        if ranks is None and word == ALL:
            ranks = tuple(range(distributed.get_world_size()))
        if ranks is not None and len(ranks) > 1:
            self._ranks, self._rank = ranks, distributed.get_rank()

    def begin(self) -> None:
        """Take this recorder's number among those of these ranks."""
        if self._ranks:
            self._number = _recorders[self._ranks]
            _recorders[self._ranks] += 1

    @property
    def several(self) -> bool:
        """Whether records are those of all ranks."""
        return self._group is not None

    def copies(self, x: object) -> float:
        """How many ranks have the same part of a tensor: each part counts once."""
        return 1.0 if self._group is None else len(self._ranks) / shards(x)

    @property
    def writes(self) -> bool:
        """Whether this rank writes what all of them have."""
        return self._group is None or self._rank == self._ranks[0]

    def agree(self) -> None:
        """At the first record: whether all ranks record. Where one does not within a minute, each is on its own, and
        all that come find the same answer: it is written once, in the store of the process group."""
        if not self._ranks or self._group is not None:
            return
        store = distributed.distributed_c10d._get_default_store()
        place = f"gradlab/{self._ranks}/{self._number}"
        store.set(f"{place}/{self._rank}", self._names)
        if store.add(f"{place}/come", 1) == len(self._ranks):
            names = {store.get(f"{place}/{rank}") for rank in self._ranks}
            store.compare_set(f"{place}/answer", "", ALL if len(names) == 1 else OWN)
        else:
            with suppress(RuntimeError):  # the time is over
                store.wait([f"{place}/answer"], AGREED_WITHIN)
        # an answer that is there stays
        answer = store.compare_set(f"{place}/answer", "", OWN).decode()
        if answer == ALL:
            self._group = distributed.new_group(
                list(self._ranks), GONE_AFTER, "gloo", use_local_synchronization=True
            )
            return
        if self._sharded:  # even a probe's forward pass would wait for the other ranks
            raise GradlabError(
                "not every process records this model, whose parameters lie on all of them",
                "make the recorder, and call recorder.step, on every rank",
            )
        warn(
            "not every process records this model: the records are of this rank's own samples and shards; call "
            "recorder.step on every rank, or give processes='own'",
            stacklevel=5,
        )
        self._ranks = ()

    # -- what ranks have together ----------------------------------------------------------------------------

    def gathered(self, mine: Any) -> list[Any]:
        """What each rank gives, in the order of the ranks."""
        if self._group is None:
            return [mine]
        every: list[Any] = [None] * len(self._ranks)
        distributed.all_gather_object(every, mine, group=self._group)
        return every

    def first(self, mine: Found) -> Found:
        """What the first rank that has anything has: of numbers that are no sums, such as the theory's."""
        return next((each for each in self.gathered(mine) if each), mine)

    def total(self, numbers: Tensor) -> Tensor:
        """Their sum over the ranks, on the host in float64."""
        whole = numbers.detach().to("cpu", torch.float64, copy=True)
        if self._group is not None:
            distributed.all_reduce(whole, group=self._group)
        return whole

    def hypot(self, norms: Tensor) -> Tensor:
        """sqrt of the sum of squares over the ranks. They are divided by the largest first: squares of gradients may
        underflow."""
        whole = norms.detach().to("cpu", torch.float64, copy=True)
        if self._group is None:
            return whole
        largest = torch.where(whole.isfinite(), whole, 0.0)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX, group=self._group)
        largest = torch.where(largest > 0, largest, 1.0)
        return self.total((whole / largest).square()).sqrt() * largest

    def step(self, mine: OfRank) -> list[OfRank]:
        """What all ranks have of a step, the same on every rank. Raises GradlabError where they are not at one step."""
        light = [_light(each) for each in mine.passes]
        time = {
            key: [(on_host(series), samples) for series, samples in parts] for key, parts in mine.time.items()
        }
        every: list[OfRank] = self.gathered(replace(mine, passes=light, loss=_on_host(mine.loss), time=time))
        at = [each.step if isinstance(each, OfRank) else None for each in every]
        if None in at or len(set(at)) > 1:
            words = ["has ended" if step is None else f"is at step {step}" for step in at]
            steps = ", ".join(f"rank {rank} {word}" for rank, word in zip(self._ranks, words, strict=True))
            hint = "call recorder.step (or skip) as often on every rank, or give processes='own'"
            raise GradlabError(f"the processes are not at one step: {steps}", hint)
        self._count_units(mine.passes, every)
        return every

    def _count_units(self, mine: Sequence[ForwardPass], every: Sequence[OfRank]) -> None:
        """Put for each row on how many samples of all ranks phi is flat for each unit into its first call; what else a
        call has is a few numbers, and was gathered."""
        lengths: dict[Key, set[tuple[int, ...]]] = {}
        for each in every:
            for key, call in _calls(each.passes):
                if call.numbers.inactive is not None:
                    lengths.setdefault(key, set()).add(tuple(call.numbers.inactive.shape))
        shapes = {key: shape for key, (shape, *others) in lengths.items() if not others}
        own = {key: torch.zeros(shape, dtype=torch.float64) for key, shape in shapes.items()}
        for key, call in _calls(mine):
            if key in own and call.numbers.inactive is not None:
                own[key] += call.numbers.inactive.cpu()
        whole: dict[Key, Tensor] = {}
        if own:
            sizes = [each.numel() for each in own.values()]
            parts = torch.split(self.total(torch.cat([each.flatten() for each in own.values()])), sizes)
            whole = {key: part.view(shapes[key]) for key, part in zip(own, parts, strict=True)}
        for each in every:
            for key, call in _calls(each.passes):
                call.numbers.inactive = whole.pop(key, None) if call.numbers.inactive is not None else None


def _calls(passes: Sequence[ForwardPass]) -> list[tuple[Key, Call]]:
    used = [each for each in passes if each.backward] or passes
    return [item for forward in used for item in forward.calls.items()]


def _nobody(task: int) -> None:
    """A pass of another process has no backward pass here."""


def _light(forward: ForwardPass) -> ForwardPass:
    """A pass without its tensors, its numbers on the host."""
    return ForwardPass(
        _nobody,
        (),
        batch=forward.batch,
        replica=forward.replica,
        backward=forward.backward,
        calls={key: _light_call(call) for key, call in forward.calls.items()},
        formats=forward.formats,
    )


def _light_call(call: Call) -> Call:
    numbers = replace(call.numbers, **{name: _on_host(getattr(call.numbers, name)) for name in ON_DEVICE})
    if (inactive := numbers.inactive) is not None:  # its shape alone
        numbers.inactive = inactive.new_empty(()).expand(inactive.shape)
    by_map, by_h, by_phi = map(_light_share, (call.way.by_map, call.way.by_h, call.way.by_phi))
    way = Way(None, None, call.way.taker, call.way.part, call.way.activated, by_map, by_h, by_phi)
    return replace(call, numbers=numbers, forward=None, before=None, way=way)


ON_DEVICE = ("nonfinite", "delta_norm", "delta_nonfinite", "alpha", "nonzeros", "inactive")


def _light_share(share: Share) -> Share:
    norm, entries = share.point
    return Share((_on_host(norm), entries), share.task)


def _on_host(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _on_host(each) for name, each in value.items()}
    return value.detach().cpu() if isinstance(value, Tensor) else value


def whole_loss(every: Sequence[OfRank], reduction: str | float) -> Tensor | float | None:
    """The loss of the whole batch: the mean over its samples where the loss is one, else the sum over the ranks."""
    told = [(rank.loss, _samples(rank.passes)) for rank in every if rank.loss is not None]
    if not told or reduction != "mean":
        return sum(loss for loss, _ in told) if told else None
    known = sum(samples for _, samples in told)
    shares = [samples / known if known else 1 / len(told) for _, samples in told]
    # an empty batch has no loss: nan
    return sum(loss * share for (loss, _), share in zip(told, shares, strict=True) if share)


def time_of(every: Sequence[OfRank]) -> OfPasses:
    """The series of all ranks' passes."""
    found: OfPasses = {}
    for rank in every:
        for key, parts in rank.time.items():
            found.setdefault(key, []).extend(parts)
    return found


def _samples(passes: Sequence[ForwardPass]) -> int:
    return sum(each.batch or 0 for each in [each for each in passes if each.backward] or passes)


# -- other engines -------------------------------------------------------------------------------------------


def missing_gradients(parameters: Sequence[Tensor]) -> str:
    """Why no parameter has a gradient in `.grad`, and what to do about it."""
    engines = {"ds_id": "DeepSpeed", "_hp_mapping": "DeepSpeed", "main_grad": "Megatron"}
    for mark, engine in engines.items():
        if any(hasattr(each, mark) for each in parameters):
            return (
                f"{engine} keeps the gradients elsewhere, so that the columns of the parameters' gradients are empty; "
                "delta_rms and the signals are not concerned"
            )
    return "recorder.step stands after the backward pass and before zero_grad"


# -- sharded parameters --------------------------------------------------------------------------------------


def is_sharded(x: object) -> bool:
    """Whether a tensor is a DTensor, whose entries lie on several ranks."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def local(x: Any) -> Tensor:
    """The part of a tensor that lies on this rank: all of a plain one."""
    if not is_sharded(x):
        return x  # type: ignore[no-any-return]
    if any(placement.is_partial() for placement in x.placements):
        tensor = sys.modules["torch.distributed.tensor"]
        x = x.detach().redistribute(
            placements=[tensor.Replicate() if p.is_partial() else p for p in x.placements]
        )
    return x.detach().to_local()  # type: ignore[no-any-return]


def whole(x: Any) -> Tensor:
    """All entries of a tensor, wherever they lie."""
    return x.detach().full_tensor() if is_sharded(x) else x  # type: ignore[no-any-return]


def shards(x: Any) -> int:
    """In how many different parts a tensor lies on its ranks: 1 for a plain one."""
    if not is_sharded(x):
        return 1
    found = 1
    for axis, placement in enumerate(x.placements):
        found *= x.device_mesh.size(axis) if placement.is_shard() else 1
    return found


def computes_in_parts(model: nn.Module) -> bool:
    """Whether ranks compute parts of one layer (tensor or expert parallelism), so that its outputs are parts too: where
    parameters are sharded by something else than `fully_shard`, or twice."""
    sharded: list[Any] = [each for each in model.parameters() if is_sharded(each)]
    axes = [sum(placement.is_shard() for placement in each.placements) for each in sharded]
    return bool(sharded) and (max(axes) > 1 or not _fully_sharded(model))


def reshard(model: nn.Module) -> None:
    """Give back the whole parameters that a forward pass of fully sharded modules has left behind."""
    for module in _fully_sharded(model):
        module.reshard()


def _fully_sharded(model: nn.Module) -> list[Any]:
    kind = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    return [] if kind is None else [module for module in model.modules() if isinstance(module, kind)]


def _ranks(given: nn.Module, model: nn.Module) -> tuple[int, ...] | None:
    """The ranks that train the model together, as it says itself; None where it does not."""
    while given is not model:
        if isinstance(given, nn.parallel.DistributedDataParallel):
            return tuple(distributed.get_process_group_ranks(given.process_group))
        given = given._orig_mod if "_orig_mod" in given._modules else given.module  # type: ignore[assignment]
    sharded: list[Any] = [each for each in model.parameters() if is_sharded(each)]
    meshes = [tuple(each.device_mesh.mesh.flatten().tolist()) for each in sharded]
    return max(meshes, key=lambda ranks: len(ranks), default=None)
