"""gradlab: does the gradient survive in your deep network? Measure it, predict it, judge it.

    result = gradlab.run(activation="sigmoid", depth=20)
    comparison = gradlab.compare(activation=["sigmoid", "relu"], depth=[5, 20])

Everything is loaded on first use (PEP 562), so that `import gradlab` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gradlab import theory as theory
    from gradlab.analyse import diagnose as diagnose
    from gradlab.api import Result as Result
    from gradlab.api import compare as compare
    from gradlab.api import run as run
    from gradlab.lab.merge import merge as merge
    from gradlab.recorder.recorder import Recorder as Recorder
    from gradlab.recorder.unit_variance import unit_variance as unit_variance

_HOME = {
    "run": "gradlab.api",
    "compare": "gradlab.api",
    "merge": "gradlab.lab.merge",
    "Result": "gradlab.api",
    "Recorder": "gradlab.recorder.recorder",
    "diagnose": "gradlab.analyse",
    "unit_variance": "gradlab.recorder.unit_variance",
}

__all__ = [
    "Recorder",
    "Result",
    "__version__",
    "compare",
    "diagnose",
    "merge",
    "run",
    "theory",
    "unit_variance",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name == "theory":
        return import_module("gradlab.theory")
    if name not in _HOME:
        raise AttributeError(f"module 'gradlab' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
