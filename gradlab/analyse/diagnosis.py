"""`diagnose`: every cell of a table judged by one ruleset, or by all side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from gradlab.analyse.findings import GRADLAB, Diagnosis
from gradlab.analyse.records_from_tables import frames_of_cells, split_cells
from gradlab.analyse.rule import Chance
from gradlab.analyse.ruleset import Ruleset
from gradlab.analyse.rulesets import RULESETS
from gradlab.analyse.users_ruleset import judge_by_own
from gradlab.base.errors import ConfigError, unknown
from gradlab.base.grammar import parse_item
from gradlab.base.own import Own, load_own

WHERE = "--ruleset"
EVERY = "all"


def diagnose(
    layers: pd.DataFrame,
    steps: pd.DataFrame | None = None,
    ruleset: str = GRADLAB,
    chance: Chance = None,
    cell_columns: Sequence[str] | None = None,
    time: pd.DataFrame | None = None,
    attention: pd.DataFrame | None = None,
) -> list[Diagnosis]:
    """One `Diagnosis` per cell, in the order of the table.

    layers, steps: rows as in layers.csv and steps.csv, of any number of cells and seeds; without `steps` nothing is
        said about learning, and divergence is read from the layers alone
    ruleset: one of `gradlab list rulesets`, or `all`: then each cell has one diagnosis of every ruleset, side by side;
        or `package.module:function`, the user's own: called for each cell with its rows of the two tables (None where
        there are no steps) it returns a word, a list of words, or a dict word -> evidence
    chance: validation accuracy of always guessing the commonest class, one number or one by cell id. Without it the
        level to beat is that of the untrained net.
    cell_columns: what tells the cells apart; by default every column left of `seed`
    time, attention: rows as in time.csv and attention.csv; without them nothing is said about the steps of recurrent
        layers, and about attention

    Raises DataError for a table that cannot be judged (empty, columns missing or not numeric, rows that repeat) and
    ConfigError for an unknown ruleset, and for a user's own that fails.

    >>> import gradlab
    >>> result = gradlab.run(activation="sigmoid", depth=20, steps=2, seeds=1, out="results/sigmoid")
    >>> [diagnosis] = gradlab.diagnose(result.layers)
    >>> diagnosis.verdicts
    ('vanishing',)
    """
    wanted = _chosen(ruleset)
    cells = split_cells(layers, steps, cell_columns, time, attention)
    if isinstance(wanted, Own):
        frames = frames_of_cells(layers, steps, cell_columns)
        return [
            judge_by_own(wanted, records, *of_cell, WHERE)
            for records, of_cell in zip(cells, frames, strict=True)
        ]
    return [rules.judge(records, chance) for records in cells for rules in wanted]


def _chosen(ruleset: str) -> list[Ruleset] | Own:
    if ruleset == EVERY:
        return list(RULESETS.values())
    if ruleset in RULESETS:
        return [RULESETS[ruleset]]
    item = parse_item(ruleset, WHERE)
    if item.attribute is not None:
        return load_own(item, WHERE)
    raise ConfigError(
        unknown(WHERE, RULESETS.kind, ruleset, [*RULESETS, EVERY], f"{RULESETS.allowed}, {EVERY}")
    )
