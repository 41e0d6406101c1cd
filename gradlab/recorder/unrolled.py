"""A recurrent layer step by step: its gates, and how a gradient goes from each step back to the one before.

The equations are those of `nn.RNN`, `nn.LSTM` and `nn.GRU`, for one layer in one direction. Sequences are [step,
sample, feature] in the order in which the layer goes through them; `alive` [step, sample] says where a sample has an
element (None where all have). The backward pass is written out, so that it needs the states alone and no graph: with
the slopes of all steps at hand, one step back is a product with the recurrent weights and a few multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Weights(NamedTuple):
    """w_ih: [gates x hidden, input]; w_hh: [gates x hidden, state]; b_ih, b_hh: [gates x hidden] or None; w_hr:
    [projection, hidden] of an LSTM with `proj_size`, else None."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    w_hr: Tensor | None = None


class Backward(NamedTuple):
    """Gradients of a loss, for several of its parts (channels) at once.

    h, c:     by the states, everything that comes back through later steps counted, [step, channel, sample, unit]
    x:        by the layer's inputs, of the first channel, [step, sample, input]; None where nobody asked
    h0, c0:   by the states that it began with, [channel, sample, unit]
    """

    h: Tensor
    c: Tensor | None
    x: Tensor | None
    h0: Tensor
    c0: Tensor | None


@dataclass(frozen=True)
class Unrolled:
    """A layer's forward pass with all that its backward pass needs.

    h:    the states as these equations give them, [step, sample, unit]
    keep: of an LSTM the forget gate, of a GRU the update gate: how much of the state stays, [step, sample, unit]
    z:    of a plain RNN the pre-activations
    slopes: of the gates by their arguments, with what the gates do to the state, [step, sample, gate, unit]
    """

    weights: Weights
    alive: Tensor | None
    h: Tensor
    keep: Tensor | None
    z: Tensor | None
    slopes: Tensor

    def __len__(self) -> int:
        return len(self.h)

    def backward(
        self, direct: Tensor, direct_c: Tensor | None, later: Tensor, later_c: Tensor, with_x: bool
    ) -> Backward:
        """direct: gradients that come to each h from outside of the layer, [step, channel, sample, unit]; it is written
        to. direct_c: the same of c; later, later_c: those that come to the last h and c from steps behind it,
        [channel, sample, unit]; with_x: whether the gradient by the inputs is asked for"""
        of_c = torch.zeros_like(direct_c) if direct_c is not None else self._cells_like(direct)
        gates = self.slopes.shape[2]
        by_gates = direct.new_empty(*direct.shape[1:3], gates, self.slopes.shape[3])
        every = direct.new_empty(len(self), direct.shape[2], gates * self.slopes.shape[3]) if with_x else None
        for step in reversed(range(len(self))):
            if self.alive is not None:  # a sample that begins here brings nothing to the step before
                later, later_c = (each * self.alive[step, :, None] for each in (later, later_c))
            h = direct[step].add_(later)
            c = later_c if direct_c is None else later_c + direct_c[step]
            c, later, later_c = self._back(step, h, c, by_gates)
            if of_c is not None:
                of_c[step] = c
            if every is not None:
                every[step] = by_gates[0].flatten(-2)
        x = None if every is None else every @ self.weights.w_ih
        return Backward(direct, of_c, x, later, None if of_c is None else later_c)

    def _cells_like(self, h: Tensor) -> Tensor | None:
        """Room for the gradients by c; None where there is none."""
        return None

    def _back(self, step: int, h: Tensor, c: Tensor, by_gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From the gradients by h and c at a step: that by c with what comes through h, and those by the h and c of the
        step before. by_gates: takes that by the gates' arguments, [channel, sample, gate, unit]"""
        raise NotImplementedError


@dataclass(frozen=True)
class Rnn(Unrolled):
    def _back(self, step: int, h: Tensor, c: Tensor, by_gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        torch.mul(h.unsqueeze(-2), self.slopes[step], out=by_gates)
        return c, by_gates.flatten(-2) @ self.weights.w_hh, c


@dataclass(frozen=True)
class Lstm(Unrolled):
    """through: d h / d c"""

    through: Tensor

    def _cells_like(self, h: Tensor) -> Tensor:
        return h.new_empty(*h.shape[:-1], self.through.shape[-1])

    def _back(self, step: int, h: Tensor, c: Tensor, by_gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert self.keep is not None
        if self.weights.w_hr is not None:
            h = h @ self.weights.w_hr
        c = torch.addcmul(c, h, self.through[step])
        torch.mul(c.unsqueeze(-2), self.slopes[step, :, :3], out=by_gates[..., :3, :])
        torch.mul(h, self.slopes[step, :, 3], out=by_gates[..., 3, :])
        return c, by_gates.flatten(-2) @ self.weights.w_hh, c * self.keep[step]


@dataclass(frozen=True)
class Gru(Unrolled):
    """reset: the gate r"""

    reset: Tensor

    def _back(self, step: int, h: Tensor, c: Tensor, by_gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert self.keep is not None
        torch.mul(h.unsqueeze(-2), self.slopes[step], out=by_gates)
        recurrent = by_gates.clone()
        recurrent[..., 2, :] *= self.reset[step]
        return c, torch.addcmul(recurrent.flatten(-2) @ self.weights.w_hh, h, self.keep[step]), c


def unroll(
    kind: str,
    weights: Weights,
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    alive: Tensor | None,
    h: Tensor | None = None,
) -> Unrolled:
    """The forward pass of one layer on x.

    kind: "RNN_TANH", "RNN_RELU", "LSTM" or "GRU", as torch calls them
    h0, c0: the states before the first step, [sample, unit]; c0 of an LSTM alone
    h:    the states, where they are known already: then no step waits for another but for the cells of an LSTM
    """
    from_x = F.linear(x, weights.w_ih, weights.b_ih)
    if h is None:
        h = _states(kind, weights, from_x, h0, c0, alive)
    before = _before(h, h0, alive)
    from_h = F.linear(before, weights.w_hh, weights.b_hh)
    if kind == "LSTM":
        i, f, g, o = _lstm_gates(from_x + from_h)
        c = _cells(f, i * g, c0, alive)
        of_c = torch.tanh(c)
        out = o * of_c
        of_gates = g * i * (1 - i), _before(c, c0, alive) * f * (1 - f), i * (1 - g * g), out * (1 - o)
        through = o * (1 - of_c * of_c)
        out = out if weights.w_hr is None else F.linear(out, weights.w_hr)
        return Lstm(weights, alive, out, f, None, torch.stack(of_gates, dim=-2), through)
    if kind == "GRU":
        r, z, n, from_n = _gru_gates(from_x, from_h)
        by_n = (1 - z) * (1 - n * n)
        of_r_z_n = by_n * from_n * r * (1 - r), (before - n) * z * (1 - z), by_n
        return Gru(weights, alive, n + z * (before - n), z, None, torch.stack(of_r_z_n, dim=-2), r)
    z = from_x + from_h
    out = z.relu() if kind == "RNN_RELU" else z.tanh()
    slope = (z > 0).to(z.dtype) if kind == "RNN_RELU" else 1 - out * out
    return Rnn(weights, alive, out, None, z, slope.unsqueeze(-2))


def _states(
    kind: str, weights: Weights, from_x: Tensor, h0: Tensor, c0: Tensor, alive: Tensor | None
) -> Tensor:
    """The states h, one step after another."""
    h, c, found = h0, c0, []
    for step, own in enumerate(from_x):
        from_h = F.linear(h, weights.w_hh, weights.b_hh)
        new, new_c = _next(kind, weights, own, from_h, h, c)
        if alive is not None:
            here = alive[step, :, None]
            new, new_c = torch.where(here, new, h), new_c if new_c is c else torch.where(here, new_c, c)
        h, c = new, new_c
        found.append(h)
    return torch.stack(found)


def _next(
    kind: str, weights: Weights, from_x: Tensor, from_h: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    if kind == "LSTM":
        i, f, g, o = _lstm_gates(from_x + from_h)
        c = f * c + i * g
        h = o * torch.tanh(c)
        return (h if weights.w_hr is None else F.linear(h, weights.w_hr)), c
    if kind == "GRU":
        _, z, n, _ = _gru_gates(from_x, from_h)
        return n + z * (h - n), c
    z = from_x + from_h
    return (z.relu() if kind == "RNN_RELU" else z.tanh()), c


def _lstm_gates(a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    i, f, g, o = a.chunk(4, dim=-1)
    return i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()


def _gru_gates(from_x: Tensor, from_h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gates r and z, the candidate n, and what the state brings to it before r."""
    x_r, x_z, x_n = from_x.chunk(3, dim=-1)
    h_r, h_z, h_n = from_h.chunk(3, dim=-1)
    r = (x_r + h_r).sigmoid()
    return r, (x_z + h_z).sigmoid(), (x_n + r * h_n).tanh(), h_n


def _cells(f: Tensor, new: Tensor, c0: Tensor, alive: Tensor | None) -> Tensor:
    c, found = c0, []
    for step in range(len(f)):
        following = torch.addcmul(new[step], f[step], c)
        c = following if alive is None else torch.where(alive[step, :, None], following, c)
        found.append(c)
    return torch.stack(found)


def _before(states: Tensor, first: Tensor, alive: Tensor | None) -> Tensor:
    """The state that each step began with: a sample's first step with `first`."""
    shifted = torch.cat([first[None], states[:-1]])
    if alive is None:
        return shifted
    begun = torch.cat([torch.zeros_like(alive[:1]), alive[:-1]])
    return torch.where(begun[..., None], shifted, first)
