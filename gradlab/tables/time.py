"""time.csv: what the gradient does in each step of a recurrent layer, of a user's own model."""

from __future__ import annotations

from gradlab.tables.cell import RECORD
from gradlab.tables.spec import Column, TableSpec, floats, place, predicted


def _known(name: str, unit: str, meaning: str) -> Column:
    """A number that not every layer has."""
    return Column(name, "float", unit, meaning, empty=True)


TIME = TableSpec(
    name="time",
    row="cell, seed, recorded step, recurrent layer and step in time",
    keys=RECORD,
    axes=("name", "time"),  # a module of several layers, or of two directions, has a name for each
    columns=(
        place("layer", "int", "", "the module's row in layers.csv", "name"),
        place(
            "name", "str", "", "the module's path, with PyTorch's suffix of its layer: rnn.l0, rnn.l1_reverse", "name"
        ),
        place("time", "int", "steps", "step of the sequence; 1 is the first input", "time"),
        *floats(
            ("delta_rms", "loss / h", "root mean square over samples and units of d loss_i / d h_t, with later steps")
        ),
        _known("cell_delta_rms", "loss / c", "the same of d loss_i / d c_t, of an LSTM"),
        _known(
            "carried",
            "",
            "what is left at h_t (c_t of an LSTM) of a gradient that comes to the layer's last step alone, 1 there",
        ),
        _known("forget_gate", "", "mean of the gate that keeps the state: an LSTM's forget gate, a GRU's update gate"),
        predicted("delta_rms_predicted", "loss / h", "mean-field prediction of delta_rms, of a plain RNN"),
        predicted("carried_predicted", "", "mean-field prediction of carried, of a plain RNN"),
    ),
)  # fmt: skip
