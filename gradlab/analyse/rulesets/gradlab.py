"""gradlab's own rule, as one ruleset among the others."""

from __future__ import annotations

from gradlab.analyse.findings import GRADLAB
from gradlab.analyse.rule import judge
from gradlab.analyse.ruleset import Ruleset
from gradlab.analyse.verdicts import VERDICTS

RULESET = Ruleset(
    name=GRADLAB,
    order=0,
    summary="gradlab's own verdicts, each with its evidence",
    rules=tuple(VERDICTS),
    judge=judge,
)
