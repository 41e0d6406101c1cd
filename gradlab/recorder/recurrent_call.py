"""The calls of recurrent modules in a recorded step: what each was given and gave back, and the gradients that come to
its outputs in the training's own backward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.rnn import PackedSequence

from gradlab.recorder.unrolled import Weights

RECURRENT = (nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)


@dataclass(eq=False)
class RecurrentCall:
    """One call of a recurrent module.

    number:    of the call in its forward pass, from 1
    kind:      as torch's `mode` has it; cell: whether the module makes a single step
    stack:     weights by layer and direction; None where they are not what the forward pass used
    batch_dim: of the inputs; None where these are a single sequence, without samples
    dropout:   between the layers, as it was in this call; random: the generator's state before it, where it draws
    x:         the inputs as they were given, packed ones without their order; given: the initial states
    made:      the outputs, in the order in which they were returned: [outputs,] last h[, last c]
    composed:  an LSTM cell whose h is made of its very output c (not fused): the gradient that comes to c then has what
               comes through h already
    follows:   the call whose last states this one began with
    gradients: of each backward pass, by its number: place among the outputs -> gradient; graphs: passes that leave a
               graph (of a gradient penalty), which do not count beside the loss's own
    """

    number: int
    kind: str
    cell: bool
    stack: list[list[Weights]] | None
    batch_dim: int | None
    dropout: float
    random: Tensor | None
    x: Tensor
    sizes: Tensor | None
    order: Tensor | None
    given: tuple[Tensor, ...]
    made: list[Tensor]
    versions: list[int]
    last: tuple[ref[Tensor], ...]
    composed: bool
    follows: RecurrentCall | None = None
    gradients: dict[int, dict[int, Tensor]] = field(default_factory=dict)
    graphs: set[int] = field(default_factory=set)

    @classmethod
    def of(
        cls, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any,
        number: int, random: Tensor | None,
    ) -> RecurrentCall | None:  # fmt: skip
        """What was called; None where it was given or gave something else than torch's own modules take."""
        x = args[0] if args else kwargs["input"]
        cell = isinstance(module, nn.RNNCellBase)
        sizes, order = None, None
        if isinstance(x, PackedSequence):
            x, sizes, order, _ = x
        states = initial_states(args, kwargs)
        if cell:
            outputs: tuple[Any, ...] = output if isinstance(output, tuple) else (output,)
            finals = outputs
        else:
            if not (isinstance(output, tuple) and len(output) == 2):
                return None
            first, final = output
            finals = final if isinstance(final, tuple) else (final,)
            outputs = (first.data if isinstance(first, PackedSequence) else first, *finals)
        every = (x, *states, *outputs)
        if not all(isinstance(each, Tensor) and each.is_floating_point() for each in every):
            return None
        if outputs[0].shape[:-1] != x.shape[:-1]:  # what a hook of the user's made of it
            return None
        batched = sizes is not None or x.dim() == (2 if cell else 3)
        batch_first = not cell and bool(getattr(module, "batch_first", False)) and sizes is None
        dropout = float(getattr(module, "dropout", 0.0)) if module.training else 0.0
        kept = [each.detach() for each in every]
        return cls(
            number=number,
            kind=_kind(module),
            cell=cell,
            stack=weights_of(module),
            batch_dim=None if not batched else 0 if batch_first or cell else 1,
            dropout=dropout if getattr(module, "num_layers", 1) > 1 else 0.0,
            random=random,
            x=kept[0],
            sizes=sizes,
            order=order,
            given=tuple(kept[1 : 1 + len(states)]),
            made=kept[1 + len(states) :],
            versions=[each._version for each in kept],
            last=tuple(ref(each) for each in finals),
            composed=cell and len(finals) > 1 and finals[0].grad_fn is not finals[1].grad_fn,
        )

    def begins_with(self, states: Sequence[Tensor]) -> bool:
        """Whether these tensors are the very states that the call ended with; what was computed from them is not."""
        return len(states) == len(self.last) and all(
            mine() is theirs for mine, theirs in zip(self.last, states, strict=True)
        )

    @property
    def taken(self) -> Mapping[int, Tensor]:
        """The gradients that count: those of the loss's own backward pass. None came, or several passes went through
        (their deltas do not add up): nothing."""
        own = [task for task in self.gradients if task not in self.graphs] or [*self.gradients][-1:]
        return self.gradients[own[0]] if len(own) == 1 else {}

    @property
    def usable(self) -> bool:
        """Whether it can be unrolled: its tensors hold what they held, and its weights are known."""
        kept = [self.x, *self.given, *self.made]
        same = self.versions == [each._version for each in kept]
        lost = self.dropout > 0 and self.random is None
        return same and self.stack is not None and not lost and self.x.numel() > 0


def initial_states(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The states that a call of a recurrent module is given: none, h, or h and c."""
    given = kwargs.get("hx", args[1] if len(args) > 1 else None)
    return () if given is None else tuple(given) if isinstance(given, tuple | list) else (given,)


def sequences(calls: Sequence[RecurrentCall]) -> list[list[RecurrentCall]]:
    """The calls of one module in one forward pass as sequences: a call goes on where it begins with the states that the
    one before ended with. Those of a cell are one sequence, whatever the loop does to the states between them."""
    found: list[list[RecurrentCall]] = []
    for call in calls:
        goes_on = bool(found) and (call.cell or (call.follows is not None and call.follows is found[-1][-1]))
        if goes_on:
            found[-1].append(call)
        else:
            found.append([call])
    return found


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.RNNBase):
        return str(module.mode)
    if isinstance(module, nn.RNNCell):
        return f"RNN_{module.nonlinearity.upper()}"
    return "LSTM" if isinstance(module, nn.LSTMCell) else "GRU"


def weights_of(module: nn.Module) -> list[list[Weights]] | None:
    """As the forward pass has them; not by name where that would compute them anew (spectral norm changes then)."""
    if isinstance(module, nn.RNNCellBase):
        if is_parametrized(module):
            return None
        b_ih, b_hh = (None if each is None else each.detach() for each in (module.bias_ih, module.bias_hh))
        return [[Weights(module.weight_ih.detach(), module.weight_hh.detach(), b_ih, b_hh)]]
    assert isinstance(module, nn.RNNBase)
    flat = [each.detach() for each in module._flat_weights if each is not None]
    directions = 2 if module.bidirectional else 1
    each = len(flat) // (module.num_layers * directions)
    stack = []
    for layer in range(module.num_layers):
        row = []
        for direction in range(directions):
            place = (layer * directions + direction) * each
            w_ih, w_hh, *rest = flat[place : place + each]
            own = Weights(w_ih, w_hh, None, None, rest[-1] if module.proj_size else None)
            row.append(own._replace(b_ih=rest[0], b_hh=rest[1]) if module.bias else own)
        stack.append(row)
    return stack
