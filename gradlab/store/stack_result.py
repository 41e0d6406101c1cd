"""What training one stack leaves behind: a block of records for each table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlab.tables.block import Block


@dataclass(frozen=True, kw_only=True)
class StackResult:
    """The records of one stack.

    cell:     id of the cell; seeds: one a replica
    steps:    int64 [record], the step of each record
    blocks:   table -> its records; no records of layers when `--record off`
    input_sq: float64 [replica, batch], mean square of each input of the first batch
    timings:  seconds and counts by name; not part of any table
    weights:  sha256 of the file of its final weights; empty where none were kept
    """

    cell: str
    seeds: tuple[int, ...]
    steps: NDArray[np.int64]
    blocks: Mapping[str, Block]
    input_sq: NDArray[np.float64]
    timings: Mapping[str, float]
    weights: str = ""

    @property
    def layers(self) -> Block:
        return self.blocks["layers"]
