"""A resolved configuration: a value for every key, the grid, and where each value came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gradlab.config.keys import Scalar
from gradlab.config.sections import Config


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    base:       a value for every key; for a key of the grid, the first of its values
    grid:       "network.depth" -> its distinct typed values, in the order given; only keys given as lists
    provenance: "training.lr" -> "flag --lr", "--set training.lr", "environment GRADLAB_TRAINING__LR",
                "file grid.toml", "default grid" or "default"
    warnings:   sentences for the user: nothing that stops a run
    """

    base: Config
    grid: Mapping[str, tuple[Scalar, ...]]
    provenance: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict, repr=False)

    def where(self, path: str) -> str:
        """How an error names the place of a value: `--lr`, `grid.toml: training.lr`, or the key itself."""
        return self.places.get(path, path)

    def values(self, path: str) -> tuple[Scalar, ...]:
        """Every value of a key: those of the grid, or the one of the base."""
        section, _, name = path.partition(".")
        return self.grid.get(path) or (getattr(getattr(self.base, section), name),)
