"""What a published result says of itself; each module of `gradlab.papers` that reproduces one holds it as `PAPER`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from gradlab.base.grammar import Parameter


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A published result.

    name:     as it is typed, and as its module is called, with hyphens for underscores
    title:    what is shown
    citation: where it was published
    order:    its place in lists; without one it comes last
    """

    name: str
    title: str
    citation: str
    order: int = 1000
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    @property
    def summary(self) -> str:
        return self.title

    @property
    def module(self) -> str:
        return "gradlab.papers." + self.name.replace("-", "_")
