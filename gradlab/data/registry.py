"""The built-in data sets, one entry each, free of NumPy and scikit-learn.

To add one: an entry here and a function of the same name in `gradlab.data.recipes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gradlab.base.errors import ConfigError, Problem
from gradlab.base.grammar import Item, Parameter, parse_item

RECIPE_VERSION = 1
"""Part of every digest: raised when a recipe or the split changes, so that old results are not reused."""


@dataclass(frozen=True)
class Definition:
    """One built-in. Its recipe is the function of the same name in `gradlab.data.recipes`."""

    summary: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def _samples(default: int, low: int = 20) -> Parameter:
    return Parameter(
        default=default,
        meaning="rows, training and validation together",
        low=low,
        high=1_000_000,
        integer=True,
    )


def _noise(default: float) -> Parameter:
    return Parameter(default=default, meaning="standard deviation of the noise on each coordinate", low=0)


def _classes(default: int) -> Parameter:
    return Parameter(default=default, meaning="number of classes", low=2, high=1000, integer=True)


REGISTRY: Mapping[str, Definition] = {
    "digits": Definition("1797 real handwritten digits of 8 x 8 pixels, 10 classes (scikit-learn's)"),
    "moons": Definition(
        "two interleaving half circles in the plane", {"samples": _samples(1000), "noise": _noise(0.2)}
    ),
    "circles": Definition(
        "a small circle inside a large one, in the plane",
        {
            "samples": _samples(1000),
            "noise": _noise(0.1),
            "factor": Parameter(
                default=0.5, meaning="radius of the small circle over the large one's", low=0, high=0.99
            ),
        },
    ),
    "spirals": Definition(
        "interleaved spirals in the plane, one arm a class",
        {
            "samples": _samples(1000),
            "noise": _noise(0.02),
            "classes": _classes(2),
            "turns": Parameter(default=1.5, meaning="turns of each arm", low=0, open_low=True, high=20),
        },
    ),
    "gaussian": Definition(
        "standard normal inputs with labels independent of them: the input the theory assumes",
        {
            "features": Parameter(default=64, meaning="number of inputs", low=1, high=100_000, integer=True),
            "classes": _classes(10),
            "samples": _samples(2000),
        },
    ),
    "mnist1d": Definition(
        "MNIST-1D: ten 1-D digit shapes, shifted, sheared and noised, 40 points (extra `mnist1d`)",
        {"samples": _samples(5000, low=500)},
    ),
}


def parse_parameters(name: str, parts: list[str], where: str) -> Item:
    """The item `name` with the parameters written in `parts`; a data set has no `module:Attr`."""
    for part in parts:
        if "=" not in part:
            raise ConfigError(
                Problem(where, f"{part!r} after {name!r} is not key=value", f"{name}:key=value")
            )
    return parse_item(":".join([name, *parts]), where)
