"""The part of a validation split that stands for the whole of it between a training's ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradlab.data.split import SPLIT_SEED

if TYPE_CHECKING:
    from gradlab.data.dataset import Dataset, Integers


def validation_part(dataset: Dataset, most: int | None) -> Integers:
    """Row numbers in the validation split, ascending: all of them, or `most` drawn without replacement.

    The draw is the same for everybody who has the same split. Of classes it is stratified: each has its share of the
    rows in whole numbers, and the rows left over go to the largest remainders, so that a net that always names one
    class is as good on the part as on the whole to within a row.
    """
    rows = len(dataset.y_val)
    if most is None or most >= rows:
        return np.arange(rows)
    order = np.random.RandomState(SPLIT_SEED).permutation(rows)
    if dataset.task != "classification":
        return np.sort(order[:most])
    _, labels, counts = np.unique(dataset.y_val[order], return_inverse=True, return_counts=True)
    taken, remainders = counts * most // rows, counts * most % rows
    taken[np.argsort(-remainders, kind="stable")[: most - taken.sum()]] += 1
    # the place of each row among those of its class, in the drawn order
    by_class = np.argsort(labels, kind="stable")
    place = np.empty(rows, dtype=np.int64)
    place[by_class] = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[place < taken[labels]])
