"""Every kind of part with its registry, under the name that `gradlab list` has for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gradlab.base.registry import Registry
from gradlab.data.registry import DATASETS
from gradlab.parts.inits import INITS
from gradlab.parts.losses import LOSSES
from gradlab.parts.norms import NORMS
from gradlab.parts.optimizers import OPTIMIZERS
from gradlab.parts.rates import RATES
from gradlab.parts.record_schedule import RECORDS
from gradlab.parts.residuals import RESIDUALS


def _activations() -> Registry[Any]:
    from gradlab.activations.registry import REGISTRY  # which loads NumPy

    return REGISTRY


REGISTRIES: Mapping[str, Callable[[], Registry[Any]]] = {
    "activations": _activations,
    "inits": lambda: INITS,
    "norms": lambda: NORMS,
    "residuals": lambda: RESIDUALS,
    "optimizers": lambda: OPTIMIZERS,
    "losses": lambda: LOSSES,
    "schedules": lambda: RATES,
    "records": lambda: RECORDS,
    "datasets": lambda: DATASETS,
}
