"""What an experiment tells whoever watches it: a protocol, and an observer that says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gradlab.config.plan import Cell, Plan


class Observer(Protocol):
    """Called by the experiment, always from the process that started it."""

    def begin(self, plan: Plan, total_steps: int) -> None:
        """Before the first stack: how many updates, over all cells and seeds, are still to be made."""

    def advance(self, cell: Cell, steps: int) -> None:
        """So many more updates are made, counted over the seeds of the stack."""

    def record(self, cell: Cell, step: int, layers: Mapping[str, NDArray[np.float64]]) -> None:
        """A record was taken by the seeds `seeds` [replica]: the columns of layers.csv, [replica, layer], the readout
        last; train_loss, train_accuracy and val_accuracy [replica]."""

    def cell_done(self, cell: Cell, row: Mapping[str, Any]) -> None:
        """All seeds of a cell are done: its row of the summary."""

    def message(self, text: str) -> None:
        """A warning or a hint for the user."""

    def end(self) -> None:
        """Nothing more will come, whether all went well or not."""


class Silent:
    """An observer that does nothing."""

    def begin(self, plan: Plan, total_steps: int) -> None: ...

    def advance(self, cell: Cell, steps: int) -> None: ...

    def record(self, cell: Cell, step: int, layers: Mapping[str, NDArray[np.float64]]) -> None: ...

    def cell_done(self, cell: Cell, row: Mapping[str, Any]) -> None: ...

    def message(self, text: str) -> None: ...

    def end(self) -> None: ...
