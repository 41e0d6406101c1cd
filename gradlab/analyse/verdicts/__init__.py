"""gradlab's own verdicts, one file each, found by being there. Each file defines a `VERDICT`."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from gradlab.analyse.facts import READS
from gradlab.analyse.verdict import HEALTHY, UNDECIDED, Verdict, Word
from gradlab.base.registry import Registry, modules_of

_FOUND: list[Verdict] = [module.VERDICT for module in modules_of(sys.modules[__name__])]

VERDICTS: Registry[Verdict] = Registry(
    "verdict", {verdict.name: verdict for verdict in sorted(_FOUND, key=lambda verdict: verdict.order)}
)
"""Every fault, causes before what they cause."""

WORDS: Mapping[str, Word] = {HEALTHY.name: HEALTHY, UNDECIDED.name: UNDECIDED, **VERDICTS}
"""Everything that a cell can be called."""

COLUMNS = tuple(dict.fromkeys([*READS, *(column for verdict in _FOUND for column in verdict.reads)]))
"""Every column of layers.csv and steps.csv that a verdict depends on."""
