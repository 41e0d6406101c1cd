"""One cell of several, as it is named on the command line: by its id, or by what tells it from the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING

from gradlab.base.errors import ConfigError, Problem, nearest

if TYPE_CHECKING:
    from gradlab.analyse.findings import Diagnosis

FLAG = "--cell"


def cell_flag(diagnosis: Diagnosis, found: Sequence[Diagnosis]) -> str:
    """` --cell 'sigmoid, depth 5'`; nothing where there is one cell."""
    from gradlab.report.diagnoses import labels

    names = labels(found)
    cell = str(diagnosis.cell.get("cell", ""))
    if cell not in names:
        return ""
    alone = list(names.values()).count(names[cell]) == 1
    return f" {FLAG} {quote(names[cell]) if alone else cell}"


def find_cell(wanted: str, found: Sequence[Diagnosis]) -> str:
    """The id of the cell that `wanted` names: `sigmoid, depth 5` in any order, or an id. Raises ConfigError for a name
    that is none's, or several cells'."""
    from gradlab.report.diagnoses import labels

    ids = [str(each.cell["cell"]) for each in found]
    if wanted in ids:
        return wanted
    names = labels(found)
    same = [cell for cell, name in names.items() if _parts(name) == _parts(wanted)]
    if len(same) == 1:
        return same[0]
    if same:
        raise ConfigError(Problem(FLAG, f"{wanted!r} is the name of {len(same)} cells", ", ".join(same)))
    known = [*(names.values() or ids)]
    raise ConfigError(
        Problem(FLAG, f"unknown cell {wanted!r}", "; ".join(known), nearest(wanted, [*known, *ids]))
    )


def _parts(name: str) -> frozenset[str]:
    """`depth=5,Sigmoid` and `sigmoid, depth 5` are the same."""
    return frozenset(" ".join(re.split(r"[\s=]+", part.strip().casefold())) for part in name.split(","))
