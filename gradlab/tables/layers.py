"""layers.csv: what the gradient and the signal do in each layer at each record."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from gradlab.tables.cell import RECORD
from gradlab.tables.spec import Column, TableSpec, floats, place, predicted


def _compared(name: str, meaning: str, kind: Literal["int", "float"] = "float", unit: str = "") -> Column:
    return Column(name, kind, unit, meaning, compared=True)


def _gain(name: str, meaning: str) -> Column:
    return Column(name, "float", "", meaning, empty=True)


def _signed(name: str, unit: str, meaning: str) -> Column:
    return Column(name, "float", unit, meaning, signed=True)


TRAINS = ("yes", "frozen", "no gradient", "not in the optimizer", "not registered", "frozen as drawn")
"""What the column `trains` says."""

STREAM = "stream"
JOINS = ("added", "transformed", "scaled", "concatenated", "multiplied", "other")
"""What the column `joins` says: as it is; behind a function without weights, such as an activation; behind a number
that is learned, such as ReZero's; beside what is there, as a skip of a U-Net; as a factor; in another way."""

LAYERS = TableSpec(
    name="layers",
    row="cell, seed, recorded step and layer",
    keys=RECORD,
    axes=("layer",),
    columns=(
        place(
            "layer",
            "int",
            "",
            "1 next to the input, `depth` next to the readout, the readout is depth + 1",
            "layer",
        ),
        place(
            "name",
            "str",
            "",
            "hidden_1 ... hidden_L and output; for a user's model the module's path",
            "layer",
        ),
        place("fan_in", "int", "units", "inputs of the layer's linear map", "layer"),
        place("fan_out", "int", "units", "outputs of the layer's linear map", "layer"),
        place("outputs", "int", "numbers", "numbers that the layer puts out for one sample", "layer"),
        place(
            "layer_activation",
            "str",
            "",
            "activation applied to the layer's outputs; empty for none",
            "layer",
        ),
        place(
            "trains",
            "str",
            "",
            f"whether training reaches its parameters: {', '.join(TRAINS)}",
            "layer",
        ),
        place(
            "path",
            "str",
            "",
            "of a user's model, where its graph says it: stream, branch k beside a path, head k of several outputs",
            "layer",
        ),
        place(
            "into",
            "str",
            "",
            "of the last row of a branch, and of a skip that is concatenated: the path that takes it",
            "layer",
        ),
        place("joins", "str", "", f"how that takes it: {', '.join(JOINS)}", "layer"),
        place("batch", "int", "samples", "size of the batch that the batch columns of this row are taken on"),
        *floats(
            (
                "weight_grad_norm",
                "loss / weight",
                "L2 norm of the gradient of the module's parameters but its biases",
            ),
            ("bias_grad_norm", "loss / bias", "L2 norm of the gradient of its biases"),
            ("weight_grad_mean_abs", "loss / weight", "mean absolute entry of the weight gradient"),
            ("grad_zero_fraction", "", "share of weight gradient entries that are exactly 0"),
            ("weight_norm", "weight", "L2 norm of the weights"),
            ("update_ratio", "", "||W after - W before|| / ||W before|| of the update made at this step"),
            ("delta_rms", "loss / z", "root mean square over samples and units of d loss_i / d z"),
        ),
        _gain(
            "weight_gain",
            "factor of the gradient's rms through the next row's weights; all gains together: delta_rms over the next "
            "row's",
        ),
        _gain("slope_gain", "factor through this row's activation"),
        _gain("norm_gain", "factor through a norm: the layer's own, or the next row where that is one"),
        _gain("other_gain", "factor of the rest: skip connections, other uses of h, pooling, dropout"),
        _signed("z_mean", "z", "mean pre-activation, on the probe"),
        *floats(
            ("z_std", "z", "standard deviation of the pre-activations over samples and units, on the probe")
        ),
        _signed("h_mean", "h", "mean activation, on the probe"),
        *floats(("h_rms", "h", "root mean square activation, on the probe")),
        _signed(
            "sample_correlation",
            "",
            "mean cosine between the activations of two samples, of the first 64 of the probe",
        ),
        _signed(
            "token_correlation",
            "",
            "mean cosine between the activations at two positions of one sample, where h is [sample, position, unit], "
            "of the first 64 positions of the probe's first samples",
        ),
        _compared("zero_fraction", "share of (sample, unit) outputs of the batch that are exactly 0"),
        _compared("saturated_fraction", "share of (sample, unit) of the probe with |phi'| < 0.05 sup|phi'|"),
        _compared("slope_sq", "mean of phi'^2 over samples and units, on the probe"),
        _compared(
            "batch_dead_fraction", "share of units inside a flat part of phi on every sample of the batch"
        ),
        _compared("dead_fraction", "share of units inside a flat part of phi on every sample of the probe"),
        _compared(
            "low_activity_fraction", "share of units outside phi's flat parts on fewer than 1 % of the probe"
        ),
        _compared("deaths", "units dead now on the probe and alive at the record before", "int", "units"),
        _compared("revivals", "units alive now on the probe and dead at the record before", "int", "units"),
        _signed("alpha", "", "learned activation parameter; its mean where a layer has one for each unit"),
        Column(
            "nonfinite",
            "int",
            "",
            "number of NaN or infinite entries in z, delta and the parameter gradients",
        ),
        predicted(
            "delta_rms_predicted", "loss / z", "mean-field prediction of delta_rms at the first record"
        ),
        predicted(
            "delta_rms_band",
            "",
            "factor: finite width explains so many times more or less than delta_rms_predicted, of a user's model",
        ),
        predicted("h_rms_predicted", "h", "mean-field prediction of h_rms at the first record"),
        predicted("h_rms_band", "", "the same factor of h_rms"),
    ),
)

FULL: tuple[Column, ...] = (
    _signed("weight_grad_p05", "loss / weight", "5th percentile of the weight gradient's entries"),
    _signed("weight_grad_p95", "loss / weight", "95th percentile of the weight gradient's entries"),
    *floats(
        ("h_p95_abs", "h", "95th percentile of |h| over samples and units, on the probe"),
        ("update_mean_abs", "weight", "mean absolute entry of the update made at this step"),
        (
            "effective_rank",
            "",
            "exp of the entropy of the singular values of h, of z where no activation follows, of 128 rows spread over "
            "the probe",
        ),
    ),
)
"""What `--metrics full` adds: the columns that published rules ask for."""

LAYERS_FULL = replace(LAYERS, columns=(*LAYERS.columns, *FULL))


LEVELS = ("standard", "full")
"""The words of `--metrics` for gradlab's own columns."""


def layer_table(metrics: str) -> TableSpec:
    """layers.csv with the columns of `--metrics`: `standard` or `full`, and the user's own, none of which is
    imported here (`sensors.own_columns`)."""
    parts = metrics.split(",")
    table = LAYERS_FULL if "full" in (part.strip() for part in parts) else LAYERS
    own = tuple(own_column(part) for part in parts if is_own(part))
    return replace(table, columns=(*table.columns, *own)) if own else table


def is_own(part: str) -> bool:
    """Whether a part of `--metrics` names a column of the user's own."""
    return ":" in part


def own_column(part: str) -> Column:
    """The column of `package.module:function`: it bears the function's name."""
    name = part.split(":")[1].rpartition(".")[2].strip()
    return _signed(name, "", f"the user's own, {part.strip()}, on the probe")
