"""What a data set is, before the split (Samples) and after it (Dataset)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """Checked inputs and classes as they were read or drawn: finite, every class in `y` at least once.

    x:           float64 [rows, features]
    y:           int64 [rows], indices into class_names
    class_names: the classes in ascending order
    held_out:    (x, y) of the validation part where the source ships one, else None
    """

    x: Floats
    y: Integers
    class_names: tuple[str, ...]
    held_out: tuple[Floats, Integers] | None = None


@dataclass(frozen=True)
class Dataset:
    """A classification task, split and standardised.

    name:           how it is written, canonically: `moons:noise=0.1`, `train.csv`
    x_train, x_val: float64 [rows, features]; each column of x_train has mean 0 and variance 1, and
                    x_val the same shift and scale
    y_train, y_val: int64 [rows], 0 ... classes - 1; every class occurs in y_train
    features:       columns of x
    class_names:    what the classes were called, in the order of their numbers
    digest:         sha256 (hex) of what defines the data
    """

    name: str
    x_train: Floats
    y_train: Integers
    x_val: Floats
    y_val: Integers
    features: int
    classes: int
    class_names: tuple[str, ...]
    digest: str

    @property
    def chance(self) -> float:
        """Validation accuracy of always guessing the commonest class."""
        import numpy as np

        return float(np.bincount(self.y_val).max() / len(self.y_val))
