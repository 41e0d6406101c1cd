"""A sensor takes the records of one table while a stack trains. The training holds a list of them.

A recorded step has these moments: `begin` before it (the probe runs in eval mode, without a graph), then the forward
and backward pass, either through modules inside `watching()` or in buffers handed to `take_pass`, then
`take_gradients`, the update, `after_update`, and `finish`. A sensor ignores the moments it does not need. It draws
nothing from the training's generators, adds no node to its graph and waits for no device.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from gradlab.tables.spec import Places, TableSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from gradlab.activations import Activation
    from gradlab.nn.buffered import BufferedPass
    from gradlab.nn.mlp import StackedMLP
    from gradlab.parts.losses import Loss
    from gradlab.parts.random_net import RandomNet
    from gradlab.tables.block import Block


class Taken(NamedTuple):
    """One record. values: wide, [replica, *axes, column]; applies: [*axes, column], which of them mean something.

    Columns are the table's `recorded` ones; a predicted one is NaN until the theory is asked.
    """

    values: Tensor
    applies: NDArray[np.bool_]


@dataclass(frozen=True)
class Observed:
    """What a sensor looks at: the stack, the activation its modules were built from, the rows held for the whole run
    [row, feature], the layers' names (the readout's last), the samples in a batch, the targets of those rows and the
    loss."""

    mlp: StackedMLP
    activation: Activation
    probe: Tensor
    names: tuple[str, ...]
    batch: int
    targets: Tensor
    loss: Loss

    @property
    def replicas(self) -> int:
        return len(self.mlp.readout.weight)


@dataclass(frozen=True)
class Seen:
    """What the nets of a stack have seen before their first update, for the theory.

    input_sq: [replica, sample], mean square of each input of the first batch; x_train: [row, feature]
    """

    input_sq: NDArray[np.float64]
    x_train: NDArray[np.float64]


class Sensor:
    """Does nothing at any moment; a sensor overrides what it needs.

    table:   what it fills
    modules: it hears of a pass by hooks alone, so that a recorded step must go through modules
    bytes_an_entry: memory that it takes for each entry of a layer's pass, for the estimate of what a stack needs
    whole_pass: it takes that for all layers at once
    bytes_a_weight: memory that it takes for each weight
    seconds: of the host spent inside the passes of the training; whoever reads them may set them back to 0
    """

    table: TableSpec
    modules: ClassVar[bool] = False
    bytes_an_entry: ClassVar[int] = 0
    whole_pass: ClassVar[bool] = False
    bytes_a_weight: ClassVar[int] = 0
    seconds: float = 0.0

    def __init__(self, observed: Observed) -> None:
        self.observed = observed

    def places(self) -> Places:
        """What the rows of the table are about."""
        raise NotImplementedError

    def begin(self, buffered: BufferedPass | None) -> None:
        """Start a record. buffered: the stack's passes in buffers, where it has them: faster than through modules."""

    def watching(self) -> AbstractContextManager[None]:
        """Around the forward and backward pass of a recorded step through modules."""
        return nullcontext()

    def take_pass(self, kept: BufferedPass, gradient: Tensor) -> None:
        """Instead of `watching`: a pass that kept everything, and the gradient it was given at the outputs."""

    def take_gradients(self, gradients: Mapping[Tensor, Tensor]) -> None:
        """Parameter -> gradient, both [replica, ...], before clipping and before the update."""

    def after_update(self) -> None:
        """The optimiser has made its step."""

    def finish(self) -> Taken:
        """The record."""
        raise NotImplementedError

    @classmethod
    def predict(cls, block: Block, net: RandomNet, seen: Seen) -> None:
        """Fill the predicted columns of the first record with what the theory says, NaN where it is silent."""

    def state(self) -> dict[str, Any]:
        """Tensors that it keeps from record to record, for a checkpoint."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
