"""How attention shares out its weights, from the rows of attention.csv."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Attending:
    """One attention. Arrays are [seed, record], nan where a record has no such row.

    heads: how many; function, head_dim, keys: as attention.csv has them
    entropy:   of its weights over the maximum, the mean over heads; logit_max: of all heads
    """

    name: str
    function: str
    heads: int
    head_dim: int
    keys: int
    entropy: Array
    logit_max: Array


def attending(
    frame: pd.DataFrame, seeds: NDArray[np.int64], steps: NDArray[np.int64]
) -> dict[str, Attending]:
    """Each attention by its name, in order of execution. frame: the rows of one cell; seeds, steps: of its records"""
    seed_at = {int(seed): place for place, seed in enumerate(seeds)}
    step_at = {int(step): place for place, step in enumerate(steps)}
    found: dict[str, Attending] = {}
    for name, rows in frame.groupby("name", sort=False):
        entropy, largest = np.full((2, len(seeds), len(steps)), np.nan)
        records = rows.groupby(["seed", "step"])
        mean, most = records["entropy"].mean(), records["logit_max"].max()
        for seed, step in mean.index:
            if seed in seed_at and step in step_at:
                entropy[seed_at[seed], step_at[step]] = mean[seed, step]
                largest[seed_at[seed], step_at[step]] = most[seed, step]
        heads, width, keys = (int(rows[column].max()) for column in ("head", "head_dim", "keys"))
        function = str(rows["function"].iloc[0])
        found[str(name)] = Attending(str(name), function, heads, width, keys, entropy, largest)
    return found
