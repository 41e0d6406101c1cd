"""What torch's own criteria take, so that one which does not fit the targets is refused before it is called. Free of
torch.

A criterion that is not listed, and any function of the user's, is taken at its word: it gets classes as int64 beside
outputs with one more axis, and everything else as floats of the outputs' shape.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from gradlab.base.own import Own

SOFT = "distribution"
"""Stands among the tasks for floating targets of several classes, which a user's own batches may give."""


@dataclass(frozen=True)
class Criterion:
    """takes: the tasks whose targets it takes; elementwise: whether each output is compared with a float of its own;
    binary, threshold: as of a `Loss`"""

    takes: tuple[str, ...]
    elementwise: bool = False
    binary: bool = False
    threshold: float = 0.0


_NUMBERS = Criterion(("regression", "multilabel"), elementwise=True)
_CLASSES = Criterion(("classification",))
_LABELS = ("classification", "multilabel")

OF_TORCH = {
    "CrossEntropyLoss": Criterion(("classification", SOFT)),
    "NLLLoss": _CLASSES,
    "MultiMarginLoss": _CLASSES,
    "BCEWithLogitsLoss": Criterion(_LABELS, elementwise=True, binary=True),
    "BCELoss": Criterion(_LABELS, elementwise=True, binary=True, threshold=0.5),
    "MultiLabelSoftMarginLoss": Criterion(("multilabel",), elementwise=True),
    "MSELoss": _NUMBERS,
    "L1Loss": _NUMBERS,
    "SmoothL1Loss": _NUMBERS,
    "HuberLoss": _NUMBERS,
    "PoissonNLLLoss": Criterion(("regression",), elementwise=True),
}
"""by the name of the class"""


def of_torch(own: Own) -> Criterion | None:
    """What is known of a criterion of torch's, its class or an instance; None for any other."""
    kind = own.attribute if inspect.isclass(own.attribute) else type(own.attribute)
    return OF_TORCH.get(kind.__name__) if kind.__module__ == "torch.nn.modules.loss" else None
