"""attention.csv: how each attention head of a user's own model shares out its weights, on the probe."""

from __future__ import annotations

from gradlab.tables.cell import RECORD
from gradlab.tables.spec import Column, TableSpec, place

ATTENTION = TableSpec(
    name="attention",
    row="cell, seed, recorded step, attention and head",
    keys=RECORD,
    axes=("name", "head"),
    columns=(
        place("name", "str", "", "the path of the module that attends; from its second call on with #", "name"),
        place("head", "int", "", "1 is the first", "head"),
        place("function", "str", "", "torch's function that attends; softmax where it is written by hand", "name"),
        place("head_dim", "int", "units", "of a query and a key", "name"),
        place("keys", "int", "", "entries that a query can choose from, masks left aside", "name"),
        Column(
            "entropy",
            "float",
            "",
            "mean over queries and samples of the weights' entropy over its maximum, the logarithm of how many entries "
            "the mask allows: 1 is uniform, 0 is one entry alone",
            empty=True,
        ),
        Column(
            "logit_max", "float", "", "largest number that goes into the softmax, masked ones left out",
            signed=True, empty=True,
        ),
    ),
)  # fmt: skip
