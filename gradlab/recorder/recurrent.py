"""What the gradient does in each step of the recurrent modules that were called.

From what a call kept (`recorder.recurrent_call`) the module's layers are unrolled again, layer by layer
(`recorder.unrolled`), without a graph and without the rest of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gradlab.nn import statistics as st
from gradlab.recorder.recurrent_call import RecurrentCall
from gradlab.recorder.unrolled import Unrolled, Weights, unroll

Where = tuple[int, int]
"""A layer of a module, from 0, and its direction: 0 from the first input on, 1 from the last one."""


@dataclass
class Series:
    """What is measured of one layer in one direction, by step [T], inputs in the order in which they were given.

    delta, cell:   L2 norm of d loss / d h, and of d loss / d c of an LSTM
    units, cells:  entries of a sample in h and c; samples: how many have that step
    carried:       as the column of the table; begins: what is 1 there, root mean square over the samples
    keep:          mean of the gate that keeps the state
    direct:        L2 norm of the part of delta that comes from outside of the layer
    z_sq:          mean square of the pre-activations of a plain RNN; gain: ||W_hh||^2 / units; kind: of the module
    sound:         whether the layer unrolled gives what the module gave
    reverse:       whether it goes from the last input to the first
    """

    kind: str
    reverse: bool
    units: int
    cells: int
    samples: Tensor
    delta: Tensor
    cell: Tensor | None
    carried: Tensor
    begins: Tensor
    keep: Tensor | None
    direct: Tensor
    z_sq: Tensor | None
    gain: Tensor
    sound: Tensor


@dataclass
class _Piece:
    """A layer in one call, in the order in which it is gone through. through: norms of the gradient that was put into
    the last step alone; end: the index of that step, -1 for none"""

    unrolled: Unrolled
    samples: Tensor
    delta: Tensor
    cell: Tensor | None
    through: Tensor
    end: Tensor
    direct: Tensor
    h0: Tensor
    c0: Tensor | None


def measured(calls: Sequence[RecurrentCall]) -> dict[Where, Series]:
    """Each layer of one sequence, calls in their order; nothing where it cannot be unrolled or got no gradient."""
    got = [place for place, call in enumerate(calls) if call.taken]
    if not got or not all(call.usable for call in calls):
        return {}
    pieces: dict[Where, list[_Piece]] = {}
    sound: dict[Where, list[Tensor]] = {}
    for place in reversed(range(len(calls))):
        call = calls[place]
        after = calls[place + 1] if place + 1 < len(calls) else None
        later = {}
        if after is not None and after.follows is call:
            later = {where: found[-1] for where, found in pieces.items()}
        with torch.no_grad():
            parts, right = _unrolled(call)
            for where, piece in _back(call, parts, later, place == got[-1]):
                pieces.setdefault(where, []).append(piece)
                sound.setdefault(where, []).append(right)
    joined = all(after.follows is call for call, after in pairwise(calls))
    with torch.no_grad():
        return {
            where: _series(calls[0].kind, where, found[::-1], sound[where], len(calls) - 1 - got[-1], joined)
            for where, found in pieces.items()
        }


class _Parts:
    """A call's tensors as [step, sample, feature] in the format that is computed in, its layers unrolled, and the
    factors of the dropout below each layer but the first."""

    def __init__(self, call: RecurrentCall) -> None:
        assert call.stack is not None
        self.call, weight = call, call.stack[0][0].w_hh
        self.dtype = weight.dtype if weight.dtype in (torch.float32, torch.float64) else torch.float32
        self.layers, self.directions = len(call.stack), len(call.stack[0])
        self.place = None if call.sizes is None else _places(call.sizes)
        self.x = self.steps(call.x)
        self.alive: Tensor | None = None
        if call.sizes is not None:
            self.alive = self.steps(torch.ones_like(call.x[:, :1]))[..., 0] > 0
        samples = self.x.shape[1]
        self.samples = torch.full((len(self.x),), float(samples), dtype=torch.float64)
        if call.sizes is not None:
            self.samples = call.sizes.double()
        self.unrolled: dict[Where, Unrolled] = {}
        self.noise: list[Tensor] = []

    def steps(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        if self.place is not None:
            assert self.call.sizes is not None
            whole = x.new_zeros(len(self.call.sizes), int(self.call.sizes[0]), x.shape[1])
            whole[self.place[0].to(x.device), self.place[1].to(x.device)] = x
            return whole
        if self.call.cell:
            return x.reshape(1, -1, x.shape[-1])
        if self.call.batch_dim is None:
            return x.unsqueeze(1)
        return x.transpose(0, 1) if self.call.batch_dim == 0 else x

    def states(self, x: Tensor | None, size: int) -> Tensor:
        """Initial or last states, or their gradients, as [layer x direction, sample, unit]; zeros for None."""
        samples = self.x.shape[1]
        if x is None:
            return self.x.new_zeros(self.layers * self.directions, samples, size)
        x = x.to(self.dtype).reshape(-1, samples, size)
        return x if self.call.order is None else x.index_select(1, self.call.order)

    def along(self, x: Tensor, direction: int) -> Tensor:
        return x.flip(0) if direction else x

    def weights(self, layer: int, direction: int) -> Weights:
        assert self.call.stack is not None
        own = self.call.stack[layer][direction]
        return Weights(*(None if each is None else each.to(self.dtype) for each in own))  # type: ignore[arg-type]

    def sizes(self) -> tuple[int, int]:
        """Units of h and of c."""
        own = self.weights(0, 0)
        gates = {"LSTM": 4, "GRU": 3}.get(self.call.kind, 1)
        return own.w_hh.shape[1], own.w_hh.shape[0] // gates


def _unrolled(call: RecurrentCall) -> tuple[_Parts, Tensor]:
    """The layers unrolled, and whether the topmost ones give what the module gave."""
    parts = _Parts(call)
    units, cells = parts.sizes()
    given = [*call.given, None, None]
    h0, c0 = parts.states(given[0], units), parts.states(given[1] if call.kind == "LSTM" else None, cells)
    out = parts.steps(call.made[0])
    generator = None
    if call.random is not None:
        generator = torch.Generator()
        generator.set_state(call.random)
    x, sound = parts.x, []
    for layer in range(parts.layers):
        made = []
        for direction in range(parts.directions):
            known = None
            if layer == parts.layers - 1:
                known = parts.along(out[..., direction * units : (direction + 1) * units], direction)
            place = layer * parts.directions + direction
            alive = None if parts.alive is None else parts.along(parts.alive, direction)
            found = unroll(
                call.kind,
                parts.weights(layer, direction),
                parts.along(x, direction),
                h0[place],
                c0[place],
                alive,
                known,
            )
            if known is not None:
                sound.append(_alike(found.h, known, alive, call.made[0].dtype))
            parts.unrolled[layer, direction] = found
            made.append(parts.along(found.h if known is None else known, direction))
        x = torch.cat(made, dim=-1)
        if generator is not None and layer < parts.layers - 1:
            shape = x.shape if call.sizes is None else (len(call.x), x.shape[-1])
            noise = torch.empty(shape, dtype=call.made[0].dtype).bernoulli_(
                1 - call.dropout, generator=generator
            )
            noise = noise / (1 - call.dropout)
            parts.noise.append(noise.to(parts.dtype) if call.sizes is None else parts.steps(noise))
            x = x * parts.noise[-1]
    return parts, torch.stack(sound).all()


def _back(
    call: RecurrentCall, parts: _Parts, later: Mapping[Where, _Piece], last: bool
) -> Iterator[tuple[Where, _Piece]]:
    """The gradient's way through a call, from the topmost layer down.

    later: the same layers in the call that goes on from this one; last: whether no later call got a gradient
    """
    units, cells = parts.sizes()
    taken = [call.taken.get(place) for place in range(len(call.made))]
    of_outputs = None if call.cell else taken.pop(0)
    of_h = parts.states(taken[0], units)
    of_c = parts.states(taken[1], cells) if len(taken) > 1 and taken[1] is not None else None
    steps, samples = parts.x.shape[:2]
    if of_outputs is not None:
        outside = parts.steps(of_outputs)
    else:
        outside = parts.x.new_zeros(steps, samples, units * parts.directions)
    for layer in reversed(range(parts.layers)):
        below: Tensor | None = None
        for direction in range(parts.directions):
            where, place = (layer, direction), layer * parts.directions + direction
            unrolled = parts.unrolled[where]
            own = outside[..., direction * units : (direction + 1) * units]
            direct = parts.along(own, direction).clone()
            ends = _ends(parts, direction)
            direct[ends] += of_h[place]
            direct_c = None
            if of_c is not None:
                direct_c = parts.x.new_zeros(steps, samples, cells)
                direct_c[ends] = of_c[place]
                if call.composed:
                    direct_c -= direct * unrolled.through  # type: ignore[attr-defined]
            end = _last_step(direct, direct_c)
            only = (torch.arange(steps, device=end.device) == end)[:, None, None] & last
            after = later.get(where)
            begin = parts.x.new_zeros(2, samples, units), parts.x.new_zeros(2, samples, cells)
            if after is not None:
                # the hooks of the last states have what comes back in the first channel already
                begin[0][1] = after.h0[1]
                if after.c0 is not None:
                    begin[1][1] = after.c0[1]
            both_c = None if direct_c is None else torch.stack([direct_c, direct_c * only], dim=1)
            both = torch.stack([direct, direct * only], dim=1)
            back = unrolled.backward(both, both_c, *begin, with_x=layer > 0)
            if back.x is not None:
                own_x = parts.along(back.x, direction)
                below = own_x if below is None else below + own_x
            if after is not None:
                direct[-1] -= after.h0[0]
            through = back.h if back.c is None else back.c
            yield (
                where,
                _Piece(
                    unrolled,
                    parts.along(parts.samples, direction),
                    st.norm(back.h[:, 0]),
                    None if back.c is None else st.norm(back.c[:, 0]),
                    st.norm(through[:, 1]),
                    end,
                    st.norm(direct),
                    back.h0,
                    back.c0,
                ),
            )
        if layer:
            assert below is not None
            outside = below * parts.noise[layer - 1] if parts.noise else below


def _series(
    kind: str, where: Where, pieces: Sequence[_Piece], sound: Sequence[Tensor], unused: int, joined: bool
) -> Series:
    """One layer's pieces, one after another. unused: calls at the end that got no gradient; joined: whether each call
    goes on from the one before, without which nothing is known of what is carried from step to step"""

    def whole(parts: Sequence[Tensor]) -> Tensor:
        return parts[0] if len(parts) == 1 else torch.cat([*parts])

    units = pieces[0].unrolled.weights.w_hh.shape[1]
    through, samples = whole([each.through for each in pieces]), whole([each.samples for each in pieces])
    samples = samples.to(through)
    before = sum(len(each.unrolled) for each in pieces[: len(pieces) - 1 - unused])
    end = pieces[len(pieces) - 1 - unused].end + before
    at = end.clamp(min=0)
    # in a packed batch the samples that have the last step, or as many of them as have this one
    counted = torch.minimum(samples, samples[at])
    size = through / counted.sqrt()
    carried = size / size[at]
    unknown = (torch.arange(len(size), device=size.device) > end) | (end < 0)
    carried = torch.where(unknown | (not joined), torch.nan, carried)
    keep = [each.unrolled.keep for each in pieces]
    z = [each.unrolled.z for each in pieces]
    alive = pieces[0].unrolled.alive  # of a packed batch alone, which is never in several calls
    weights = pieces[0].unrolled.weights
    cells = [each.cell for each in pieces]
    z_sq = [each.square() for each in z if each is not None]
    series = {
        "samples": samples,
        "delta": whole([each.delta for each in pieces]),
        "cell": None if cells[0] is None else whole([each for each in cells if each is not None]),
        "carried": carried,
        "keep": None if keep[0] is None else _mean(whole([k for k in keep if k is not None]), alive, samples),
        "direct": whole([each.direct for each in pieces]),
        "z_sq": None if z[0] is None else _mean(whole(z_sq), alive, samples),
    }
    if where[1]:
        series = {name: None if each is None else each.flip(0) for name, each in series.items()}
    own = pieces[0].unrolled.keep
    return Series(
        kind=kind,
        reverse=bool(where[1]),
        units=units,
        cells=units if own is None else own.shape[-1],
        gain=weights.w_hh.to(st.wide_dtype(weights.w_hh)).square().sum() / units,
        begins=size[at],
        sound=torch.stack([*sound]).all(),
        **series,  # type: ignore[arg-type]
    )


def _mean(x: Tensor, alive: Tensor | None, samples: Tensor) -> Tensor:
    """Over the samples that have the step, and the units: [step, sample, unit] -> [step]."""
    if alive is not None:
        x = x * alive[..., None]
    return x.sum(dim=(1, 2), dtype=samples.dtype) / (samples * x.shape[-1])


def _last_step(direct: Tensor, direct_c: Tensor | None) -> Tensor:
    """Index of the last step to which a gradient comes from outside, -1 for none."""
    there = st.norm(direct) != 0
    if direct_c is not None:
        there = there | (st.norm(direct_c) != 0)
    return (there * torch.arange(1, len(there) + 1, device=there.device)).max() - 1


def _ends(parts: _Parts, direction: int) -> tuple[Tensor, Tensor] | int:
    """Where each sample has its last step, as an index of [step, sample]."""
    if parts.alive is None or direction:
        return -1
    return parts.alive.sum(dim=0) - 1, torch.arange(parts.x.shape[1], device=parts.x.device)


def _alike(found: Tensor, given: Tensor, alive: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Whether states are the same but for rounding, where they are finite: half of the format's digits."""
    near = (found - given).abs() <= torch.finfo(dtype).eps ** 0.5 * given.abs().clamp(min=1.0)
    near = near | ~given.isfinite()
    return torch.all(near if alive is None else near | ~alive[..., None])


def _places(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Step and sample of each row of packed data."""
    alive = torch.arange(int(sizes[0])) < sizes[:, None]
    step, sample = alive.nonzero().unbind(1)
    return step, sample
