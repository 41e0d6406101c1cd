"""What a data set is, before the split (Samples) and after it (Dataset), and which kinds of targets there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Targets = Integers | Floats

Task = Literal["classification", "regression", "multilabel"]
"""What the targets are: the class of each row, numbers to predict, or labels of 0 or 1, several at once."""
TASKS: tuple[Task, ...] = get_args(Task)
AUTO = "auto"
"""The word that leaves it to the target which task it is (`gradlab.data.targets`)."""


@dataclass(frozen=True)
class Samples:
    """Checked inputs and targets as they were read or drawn: finite, every class in `y` at least once.

    x:           float64 [rows, features]
    y:           int64 [rows], indices into class_names; of the other tasks float64 [rows, targets]
    class_names: the classes in ascending order; none in the other tasks
    held_out:    (x, y) of the validation part where the source ships one, else None
    targets:     the names of the target columns, where the source has names
    either:      whether the classes are whole numbers of a column that might as well be predicted as a number
    """

    x: Floats
    y: Targets
    class_names: tuple[str, ...]
    held_out: tuple[Floats, Targets] | None = None
    task: Task = "classification"
    targets: tuple[str, ...] = ()
    either: bool = False


@dataclass(frozen=True)
class Dataset:
    """A task, split and standardised.

    name:           how it is written, canonically: `moons:noise=0.1`, `train.csv`
    x_train, x_val: float64 [rows, features]; each column of x_train has mean 0 and variance 1, and
                    x_val the same shift and scale
    y_train, y_val: of classes int64 [rows], 0 ... classes - 1; every class occurs in y_train.
                    Of numbers float64 [rows, targets], standardised as x is. Of labels float64 [rows, labels], 0 or 1
    features:       columns of x
    classes:        how many there are; 0 where the targets are no classes
    class_names:    what the classes were called, in the order of their numbers
    digest:         sha256 (hex) of what defines the data
    targets:        the names of the target columns, where the source has names
    either:         as in `Samples`
    single:         x_train and x_val in float32, where every process maps the same ones (`gradlab.data.cache`)
    """

    name: str
    x_train: Floats
    y_train: Targets
    x_val: Floats
    y_val: Targets
    features: int
    classes: int
    class_names: tuple[str, ...]
    digest: str
    task: Task = "classification"
    targets: tuple[str, ...] = ()
    either: bool = False
    single: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def inputs(self, dtype: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """x_train and x_val for a net of this number format: in float32 those that are shared, where there are any;
        else in float64, to be converted. They are nobody's to write to."""
        return self.single if self.single is not None and dtype == "float32" else (self.x_train, self.x_val)

    @property
    def outputs(self) -> int:
        """The outputs of a net that has one for each class, number or label."""
        return self.classes or int(self.y_train.shape[1])

    @property
    def kind(self) -> str:
        """What there is to learn, in words: `10 classes`, `a number to predict (price)`."""
        named = f" ({', '.join(self.targets)})" if self.targets else ""
        if self.task == "classification":
            return f"{self.classes} classes{named}"
        if self.task == "multilabel":
            return f"{self.outputs} labels of 0 or 1{named}"
        return ("a number" if self.outputs == 1 else f"{self.outputs} numbers") + f" to predict{named}"

    @property
    def chance(self) -> float | None:
        """Validation accuracy of always guessing the commonest class; None where there are no classes."""
        import numpy as np

        if self.task != "classification":
            return None
        return float(np.bincount(self.y_val).max() / len(self.y_val))
