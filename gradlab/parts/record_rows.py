"""How many rows a record takes through the net: of the training split as its probe, and of the validation split."""

from __future__ import annotations

from dataclasses import dataclass

from gradlab.base.errors import ConfigError, Problem
from gradlab.base.grammar import whole_number

AUTO, ALL = "auto", "all"
MOST = 512
"""As many as leave an accuracy a standard error of 0.022 at most."""
LEAST = 128
"""An accuracy's standard error is 0.044 at most, and the effective rank is taken of as many."""
NUMBERS = 1 << 17
"""Inputs that the rows of `auto` hold together at most."""
MULTIPLE = 64
"""Rows that fill the registers and tiles of a product."""


@dataclass(frozen=True)
class Rows:
    """rows: None for all, if not `auto`."""

    rows: int | None = None
    auto: bool = False

    def of(self, features: int) -> int | None:
        """The largest number of rows taken from data with so many features; None for all of them.

        `auto` looks at the data alone, so that the cells of a comparison have the same probe, whatever their depth,
        width or batch. Up to 256 features it is 512 rows. Those of wide inputs cost as much in the first layer as
        many steps between two records, and are fewer, down to 128.
        """
        if not self.auto:
            return self.rows
        return max(LEAST, min(MOST, NUMBERS // features // MULTIPLE * MULTIPLE))


def parse(text: str, where: str) -> Rows:
    """A number of rows, `auto` or `all`. Raises ConfigError naming `where`."""
    if text in (AUTO, ALL):
        return Rows(auto=text == AUTO)
    if rows := whole_number(text):
        return Rows(rows)
    raise ConfigError(Problem(where, f"{text!r} is no number of rows", "a whole number from 1, auto, or all"))
