"""summary.csv: one row per cell, from the rows of layers.csv and steps.csv."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gradlab.analyse.advice import Sections
from gradlab.analyse.budget import of_first
from gradlab.analyse.decay import attenuation, decay_per_layer
from gradlab.analyse.paths import readings_of
from gradlab.analyse.records import Records, worst
from gradlab.analyse.records_from_tables import split_cells
from gradlab.analyse.rule import Chance, judge
from gradlab.analyse.seeds import mean_interval
from gradlab.tables.spec import names
from gradlab.tables.summary import SUMMARY


def summarise(
    layers: pd.DataFrame,
    steps: pd.DataFrame | None = None,
    cell_columns: Sequence[str] | None = None,
    chance: Chance = None,
) -> pd.DataFrame:
    """One row per cell: its cell columns, then the columns of `tables.summary.SUMMARY`.

    layers, steps: rows of any number of cells and seeds. cell_columns: by default every column left of `seed`.
    chance: validation accuracy of always guessing the commonest class, one for all or by cell id (see `diagnose`).
    Means over seeds, with the half width of Student's 95 % interval; nan for one seed, and where a seed has no
    such number. Raises DataError as `records_from_tables.split_cells` does.
    """
    return pd.DataFrame(
        [summary_row(records, chance) for records in split_cells(layers, steps, cell_columns)]
    )


def summary_row(
    records: Records, chance: Chance = None, sections: Sections | None = None
) -> dict[str, object]:
    """The row of one cell, in the order of the columns. sections: its network and training, where they are known."""
    on_path = next(iter(readings_of(records).values()))
    # NaN on a branch: an attenuation from layer 1 to the top one is never silently that of others
    first, last = (
        np.where(on_path, rows, np.nan) for rows in (records.first("delta_rms"), records.last("delta_rms"))
    )
    predicted = records.first("delta_rms_predicted")
    # Both fits go through the same layers: norms leave some without a prediction.
    unlike = np.isfinite(predicted).any(-1, keepdims=True) & ~np.isfinite(predicted)
    loss = mean_interval(records.last_of_run("train_loss"))
    accuracy = mean_interval(records.last_of_run("val_accuracy"))
    explained = mean_interval(records.last_of_run("val_r2"))
    total = mean_interval(attenuation(first))
    decay = mean_interval(decay_per_layer(np.where(unlike, np.nan, first)[:, on_path]))
    diagnosis = judge(records, chance, sections)
    row = dict(records.cell) | {
        "seeds": len(records.seeds),
        "train_loss_mean": float(loss.mean),
        "train_loss_ci95": float(loss.half_width),
        "val_accuracy_mean": float(accuracy.mean),
        "val_accuracy_ci95": float(accuracy.half_width),
        "val_r2_mean": float(explained.mean),
        "val_r2_ci95": float(explained.half_width),
        "attenuation_mean": float(total.mean),
        "attenuation_ci95": float(total.half_width),
        "attenuation_last_mean": float(mean_interval(attenuation(last)).mean),
        **{f"attenuation_{part}_mean": decades for part, decades in of_first(records).items()},
        "decay_per_layer_mean": float(decay.mean),
        "decay_per_layer_ci95": float(decay.half_width),
        "decay_per_layer_predicted": float(mean_interval(decay_per_layer(predicted[:, on_path])).mean),
        "dead_fraction_max": float(mean_interval(worst(records.last("dead_fraction"))).mean),
        "saturated_fraction_max": float(mean_interval(worst(records.last("saturated_fraction"))).mean),
        "verdict": ",".join(diagnosis.verdicts),
        "verdict_seeds": diagnosis.seeds_text,
        "advice": diagnosis.advice,
    }
    assert list(row)[len(records.cell) :] == list(names(SUMMARY.columns))
    return row
