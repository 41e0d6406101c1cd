"""summary.csv: each cell in one row, and failures.csv: the seeds that have none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from gradlab.tables.spec import Column, TableSpec, floats

if TYPE_CHECKING:
    from gradlab.tables.table import Table


def _maybe(name: str, unit: str, meaning: str) -> Column:
    """A number that a cell may lack: an interval of one seed, a prediction, a slope of softmax."""
    return Column(name, "float", unit, meaning, empty=True)


def _of_layers(name: str, meaning: str) -> Column:
    """In decades: nan where a gradient is not a number, empty where no layer was recorded."""
    return Column(name, "float", "decades", meaning, of="layers")


SUMMARY = TableSpec(
    name="summary",
    row="cell",
    keys=(),
    columns=(
        Column("seeds", "int", "", "number of seeds"),
        *floats(("train_loss_mean", "loss", "mean over seeds of the last record's training loss")),
        _maybe("train_loss_ci95", "loss", "half width of its 95 % interval (Student's t over seeds)"),
        _maybe("val_accuracy_mean", "", "mean over seeds of the last record's validation accuracy"),
        _maybe("val_accuracy_ci95", "", "half width of its 95 % interval"),
        _maybe("val_r2_mean", "", "mean over seeds of the last record's R^2 on the validation split"),
        _maybe("val_r2_ci95", "", "half width of its 95 % interval"),
        _of_layers(
            "attenuation_mean",
            "log10(delta_rms of layer 1 / of layer depth) at step 0, mean over seeds; empty where one is on a branch",
        ),
        _maybe("attenuation_ci95", "decades", "half width of its 95 % interval"),
        _of_layers("attenuation_last_mean", "the same at the last record"),
        _maybe(
            "attenuation_weights_mean",
            "decades",
            "what the weights lose (below 0) or gain of attenuation_mean",
        ),
        _maybe("attenuation_slopes_mean", "decades", "what the slopes of the activation lose or gain of it"),
        _maybe("attenuation_norms_mean", "decades", "what the norms lose or gain of it"),
        _maybe(
            "attenuation_rest_mean",
            "decades",
            "what the rest, such as skip connections, loses or gains of it",
        ),
        _maybe(
            "decay_per_layer_mean",
            "",
            "factor of delta_rms per layer, going down, at step 0: least-squares fit",
        ),
        _maybe("decay_per_layer_ci95", "", "half width of its 95 % interval"),
        _maybe(
            "decay_per_layer_predicted",
            "",
            "the same fit through the predicted delta_rms, of the same layers",
        ),
        _maybe(
            "dead_fraction_max",
            "",
            "dead_fraction of the worst hidden layer at the last record, mean over seeds",
        ),
        _maybe(
            "saturated_fraction_max",
            "",
            "saturated_fraction of the worst hidden layer there, mean over seeds",
        ),
        Column("verdict", "str", "", "every verdict that holds, first cause first, joined by commas"),
        Column("verdict_seeds", "str", "", "in how many seeds each verdict holds"),
        Column("advice", "str", "", "what to try next"),
    ),
)

FAILURES = TableSpec(
    name="failures",
    row="failed stack of seeds",
    keys=(),
    columns=(
        Column("seeds", "str", "", "the seeds that trained together: the one, or the first and the last"),
        Column("message", "str", "", "why there are no records of them"),
    ),
)
"""Written only where a training failed."""


def summary_table(columns: Mapping[str, Any], unrecorded: Collection[str] = ()) -> Table:
    """Columns of summary.csv with what does not exist marked: NaN where that is what it means, and what is made from a
    table without records."""
    import numpy as np

    from gradlab.tables.table import Table

    applies = {
        column.name: ~np.isnan(columns[column.name])
        for column in SUMMARY.columns
        if column.empty or column.of in unrecorded
    }
    return Table(columns, applies, SUMMARY.kinds)
