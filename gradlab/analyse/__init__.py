"""Statistics over seeds, verdicts with evidence, published rulesets, remedies. Loaded on use: pandas costs time."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "attenuation": "decay",
    "decay_per_layer": "decay",
    "fit_line": "decay",
    "mean_interval": "seeds",
    "paired_difference": "seeds",
    "summarise": "summary",
    "diagnose": "diagnosis",
    "Diagnosis": "findings",
    "rank": "ranking",
    "remedies": "advice",
    "Remedy": "remedy",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
