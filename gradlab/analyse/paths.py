"""Which rows are read together: those along which one gradient comes down, as a user's model's rows say of themselves.

A row that is added to the stream as it is has the stream's own gradient: d loss / d (x + z) is d loss / d z. So the
stream is read at its own rows and at such ends of its branches, and a branch inside of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradlab.tables.layers import STREAM

if TYPE_CHECKING:
    from gradlab.analyse.records import Records

Bools = NDArray[np.bool_]
WHOLE = ""
"""The name of all rows together: of gradlab's own nets, and where no path is known."""


def readings(
    path: Sequence[str], into: Sequence[str], joins: Sequence[str], there: Bools
) -> dict[str, Bools]:
    """The paths that have two rows or more, each with the rows it is read at [L]; the first one is the net's own.

    path, into, joins: [L], the columns of layers.csv; there: [L], whether the first record has a delta of the row.
    Where such a row has no path the graph was cut, and all rows are read together, as they are without any path.
    """
    of, to, how = (np.array(column, dtype=object) for column in (path, into, joins))
    if not (of != "").any() or (there & (of == "")).any():
        return {WHOLE: np.ones(len(of), dtype=bool)}

    def rows(name: str) -> Bools:
        return np.asarray((of == name) | ((to == name) & (how == "added")), dtype=bool)

    stream = rows(STREAM)
    if (stream & there).sum() < 2:  # behind an activation a branch still gets most of the stream's gradient
        stream |= np.asarray((to == STREAM) & (how == "transformed"), dtype=bool)
    found = {name: rows(name) for name in dict.fromkeys(of.tolist()) if name not in ("", STREAM)}
    return {STREAM: stream, **{name: mask for name, mask in found.items() if (mask & there).sum() > 1}}


def readings_of(records: Records) -> dict[str, Bools]:
    if not records.paths:
        return {WHOLE: np.ones(len(records.layers), dtype=bool)}
    there = np.asarray(np.isfinite(records.first("delta_rms")).any(0))
    path, into, joins = zip(*records.paths, strict=True)
    return readings(path[:-1], into[:-1], joins[:-1], there)
