"""steps.csv: what the whole net does at each record."""

from __future__ import annotations

from gradlab.tables.cell import RECORD
from gradlab.tables.spec import Column, TableSpec, floats

STEPS = TableSpec(
    name="steps",
    row="cell, seed and recorded step",
    keys=RECORD,
    columns=(
        # A loss of a user's own may be below 0.
        Column(
            "train_loss", "float", "loss", "mean loss of the step's batch, before its update", signed=True
        ),
        *floats(("train_accuracy", "", "share of the step's batch classified right")),
        Column("val_loss", "float", "loss", "mean loss of the whole validation split", signed=True),
        *floats(
            ("val_accuracy", "", "share of the validation split classified right"),
        ),
        Column(
            "val_r2",
            "float",
            "",
            "R^2 on the validation split, of numbers: the share of variance explained, -inf if an output is no number",
            signed=True,
        ),
        *floats(
            ("learning_rate", "", "learning rate of this step, schedule included (empty at the last record)"),
            ("grad_norm", "loss / parameter", "L2 norm of all parameter gradients together, before clipping"),
        ),
    ),
)
