"""The forward passes of a step: which calls of which modules they are made of, and whether a loss learns from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from weakref import ReferenceType

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.multiprocessing.reductions import StorageWeakRef

from gradlab.nn.statistics import Numbers
from gradlab.recorder.ledger import Key
from gradlab.recorder.paths import Graph
from gradlab.recorder.reading import Reading
from gradlab.recorder.recurrent_call import RecurrentCall
from gradlab.recorder.way_down import Way
from gradlab.sensors.metrics import Found


@dataclass(slots=True)
class CallNumbers:
    """What is measured of a call until its step is over; None or empty for what was not.

    nonfinite, delta_nonfinite: of z and delta
    delta_norm: L2 norm of the gradient of the loss by output number `delta_of`, which has so many entries (a replica)
    delta_from: the backward pass that the norm is from, unless another one may follow it
    several:    more than one backward pass went through
    inactive:   on how many of its samples phi is flat for each unit, [unit] or [replica, unit]
    rectified:  phi(z) is max(z, 0): `inactive` says where h is 0
    alpha:      of a learned activation
    nonzeros:   entries of h that are not 0, out of so many (a replica)
    """

    nonfinite: Found = field(default_factory=dict)
    delta_norm: Tensor | float | None = None
    delta_entries: int = 0
    delta_nonfinite: Found = field(default_factory=dict)
    delta_of: int | None = None
    delta_from: int | None = None
    several: bool = False
    inactive: Tensor | None = None
    samples: int = 0
    rectified: bool = False
    alpha: Found = field(default_factory=dict)
    nonzeros: Numbers | None = None
    h_entries: int = 0


@dataclass(slots=True)
class Call:
    """One call of one module in a forward pass.

    axis:   of the units in z; axes: how many axes z has. When the call's activation is found, both are those of the
            tensor that it is applied to
    units:  how many units z has; stride: how far apart they are in memory
    entries: numbers in z (a replica)
    activated: its activation was found, or none is wanted; activation: what it is called
    forward: the pass that it is part of; before: the call that ended before it there; way: down to its z
    """

    key: Key
    axis: int
    axes: int
    units: int
    stride: int
    entries: int = 0
    activated: bool = False
    activation: str = ""
    numbers: CallNumbers = field(default_factory=CallNumbers)
    forward: ReferenceType[ForwardPass] | None = None
    before: Call | None = None
    way: Way = field(default_factory=Way)


@dataclass(eq=False)
class ForwardPass:
    """One forward pass of the model: its samples and its calls in the order in which they ended.

    begins:  told of each backward pass, by its number, that begins to bring gradients to the parameters
    parameters: the model's, as they are in this pass: `torch.func.functional_call` puts others in their place
    tasks:   backward passes by their numbers: whether they bring gradients to the parameters
    backward: whether one that does went through
    recurrent: the calls of each recurrent module, by its path
    replica: a copy that data parallelism made, which sees a part of the batch
    formats: of the calls' outputs
    made:    the call that made a tensor, by the tensor's memory: a view of it, and what an operation in place left in
             it, are still that call's. The weak reference keeps the memory's address from being given out again
    measured: the newest gradient with its version and norm: the next tensor's gradient is often the same
    reading: its graph as rules, where theory is asked
    graph:   a copy of its graph, where paths are looked for
    """

    begins: Callable[[int], None]
    parameters: Sequence[Tensor]
    batch: int | None = None
    replica: bool = False
    backward: bool = False
    calls: dict[Key, Call] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    recurrent: dict[str, list[RecurrentCall]] = field(default_factory=dict)
    tasks: dict[int, bool | None] = field(default_factory=dict)
    made: dict[int, tuple[StorageWeakRef, Call]] = field(default_factory=dict)
    formats: set[torch.dtype] = field(default_factory=set)
    latest: Call | None = None
    measured: tuple[Tensor, int, Numbers] | None = None
    reading: Reading | None = None
    graph: Graph | None = None

    def learning(self, task: int) -> bool | None:
        """Whether the backward pass that goes on brings gradients to parameters; task: its number.

        `torch.autograd.grad` with respect to inputs (a saliency map, an attack, a derivative inside the loss) does not.
        None for one with respect to parameters: only the loop knows what it does with those gradients.
        """
        if task not in self.tasks:
            self.tasks[task] = found = _reached(self.parameters)
            if found:
                self.begins(task)
        return self.tasks[task]

    def thrown_away(self, own: Sequence[Tensor]) -> bool:
        """Whether it brought gradients that are gone; own: the model's parameters outside of any pass."""
        leaves = [each for each in self.parameters if each.is_leaf] or own
        return self.backward and all(each.grad is None for each in leaves)


def _reached(parameters: Sequence[Tensor]) -> bool | None:
    """Whether the backward pass that goes on brings a gradient to any of the parameters; None for a
    `torch.autograd.grad` with respect to them. A model without parameters that learn counts in every pass: what learns
    is in front of it."""
    found: bool | None = not parameters
    for parameter in parameters:
        try:
            if torch._C._will_engine_execute_node(get_gradient_edge(parameter).node):
                return True
        except RuntimeError:  # torch's answer for a tensor that `torch.autograd.grad` was asked about
            found = None
    return found
