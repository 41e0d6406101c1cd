"""The tables gradlab writes: every column with its type, unit and meaning. The one place that knows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1

Kind = Literal["int", "float", "str"]


@dataclass(frozen=True)
class Column:
    """name; kind ("int", "float", "str"); unit ("" for a pure number or a text); meaning, in one sentence."""

    name: str
    kind: Kind
    unit: str
    meaning: str


def _floats(*rows: tuple[str, str, str]) -> tuple[Column, ...]:
    return tuple(Column(name, "float", unit, meaning) for name, unit, meaning in rows)


CELL = (
    Column(
        "cell", "str", "", "hash of the cell's configuration, data and code: the same cell, the same name"
    ),
    Column("activation", "str", "", "activation with its parameters"),
    Column("depth", "int", "layers", "number of hidden layers"),
    Column("width", "int", "units", "units in each hidden layer"),
    Column("init", "str", "", "initialiser as configured"),
    Column("norm", "str", "", "normalisation"),
    Column("residual", "str", "", "residual scheme"),
    Column("optimizer", "str", "", "optimiser"),
    Column("lr", "float", "", "learning rate as configured, before any schedule"),
    Column("dataset", "str", "", "data set"),
)

RECORD = (
    Column("seed", "int", "", "seed of the replica: its initial weights and its batches"),
    Column("step", "int", "steps", "number of updates made before this record"),
)

LAYERS = (
    *RECORD,
    Column("layer", "int", "", "1 next to the input, `depth` next to the readout, the readout is depth + 1"),
    Column("name", "str", "", "hidden_1 ... hidden_L and output; for a user's model the module's path"),
    Column("fan_in", "int", "units", "inputs of the layer's linear map"),
    Column("fan_out", "int", "units", "outputs of the layer's linear map"),
    Column("batch", "int", "samples", "size of the batch that the batch columns of this row are taken on"),
    *_floats(
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
        ("z_mean", "z", "mean pre-activation, on the probe"),
        ("z_std", "z", "standard deviation of the pre-activations over samples and units, on the probe"),
        ("h_mean", "h", "mean activation, on the probe"),
        ("h_rms", "h", "root mean square activation, on the probe"),
        ("zero_fraction", "", "share of (sample, unit) outputs of the batch that are exactly 0"),
        ("saturated_fraction", "", "share of (sample, unit) of the probe with |phi'| < 0.05 sup|phi'|"),
        ("slope_sq", "", "mean of phi'^2 over samples and units, on the probe"),
        ("batch_dead_fraction", "", "share of units inside a flat part of phi on every sample of the batch"),
        ("dead_fraction", "", "share of units inside a flat part of phi on every sample of the probe"),
        (
            "low_activity_fraction",
            "",
            "share of units outside phi's flat parts on fewer than 1 % of the probe",
        ),
    ),
    Column("deaths", "int", "units", "units dead now on the probe and alive at the record before"),
    Column("revivals", "int", "units", "units alive now on the probe and dead at the record before"),
    *_floats(("alpha", "", "learned activation parameter; its mean where a layer has one for each unit")),
    Column(
        "nonfinite", "int", "", "number of NaN or infinite entries in z, delta and the parameter gradients"
    ),
    *_floats(("delta_rms_predicted", "loss / z", "mean-field prediction of delta_rms at step 0")),
)

LAYERS_FULL = _floats(
    ("weight_grad_p05", "loss / weight", "5th percentile of the weight gradient's entries"),
    ("weight_grad_p95", "loss / weight", "95th percentile of the weight gradient's entries"),
    ("h_p95_abs", "h", "95th percentile of |h| over samples and units, on the probe"),
    ("update_mean_abs", "weight", "mean absolute entry of the update made at this step"),
)

STEPS = (
    *RECORD,
    *_floats(
        ("train_loss", "loss", "mean loss of the step's batch, before its update"),
        ("train_accuracy", "", "share of the step's batch classified right"),
        ("val_loss", "loss", "mean loss of the whole validation split"),
        ("val_accuracy", "", "share of the validation split classified right"),
        ("learning_rate", "", "learning rate of this step, schedule included (empty at the last record)"),
        ("grad_norm", "loss / parameter", "L2 norm of all parameter gradients together, before clipping"),
    ),
)

JACOBIAN = (
    *RECORD,
    Column("layer", "int", "", "hidden layer from 1, or the end of its residual block; 0 is the whole net"),
    Column("name", "str", "", "hidden_1 ... hidden_L, and input_output for d z_output / d x"),
    Column(
        "samples", "int", "samples", "first rows of the probe, on which the Jacobians are taken in eval mode"
    ),
    *_floats(
        ("singular_mean", "", "mean of the Jacobians' singular values, over samples"),
        ("singular_min", "", "smallest singular value of any sample"),
        ("singular_max", "", "largest singular value of any sample"),
        ("singular_p05", "", "5th percentile of the singular values"),
        ("singular_p25", "", "25th percentile of the singular values"),
        ("singular_p50", "", "median of the singular values"),
        ("singular_p75", "", "75th percentile of the singular values"),
        ("singular_p95", "", "95th percentile of the singular values"),
        ("singular_sq_mean", "", "mean square of the singular values"),
        ("condition", "", "largest over smallest singular value, the median sample; inf where a value is 0"),
        ("singular_sq_mean_predicted", "", "mean-field prediction of singular_sq_mean at step 0"),
    ),
)

BINS = 40
"""bins of a histogram"""

HISTOGRAMS = (
    *RECORD,
    Column("layer", "int", "", "1 next to the input, `depth` next to the readout, the readout is depth + 1"),
    Column("name", "str", "", "hidden_1 ... hidden_L and output"),
    Column("quantity", "str", "", "z or h (on the probe, in eval mode), or delta (of the step's batch)"),
    Column("entries", "int", "", "number of (sample, unit) entries"),
    Column("zeros", "int", "", "entries that are exactly 0; in no bin"),
    Column("nonfinite", "int", "", "entries that are NaN or infinite; in no bin"),
    Column("negative", "int", "", "finite entries below 0; binned with the others"),
    *_floats(
        (
            "low",
            "",
            "left edge of the first bin: the smallest binned z or h, or log10 of the smallest |delta|",
        ),
        ("high", "", "right edge of the last bin: the largest of the same"),
    ),
    *(
        Column(f"bin_{k:02}", "int", "", f"entries in bin {k} of {BINS} equal bins from low to high")
        for k in range(1, BINS + 1)
    ),
)

SUMMARY = (
    Column("seeds", "int", "", "number of seeds"),
    *_floats(
        ("train_loss_mean", "loss", "mean over seeds of the last record's training loss"),
        ("train_loss_ci95", "loss", "half width of its 95 % interval (Student's t over seeds)"),
        ("val_accuracy_mean", "", "mean over seeds of the last record's validation accuracy"),
        ("val_accuracy_ci95", "", "half width of its 95 % interval"),
        (
            "attenuation_mean",
            "decades",
            "log10(delta_rms of layer 1 / of layer depth) at step 0, mean over seeds",
        ),
        ("attenuation_ci95", "decades", "half width of its 95 % interval"),
        ("attenuation_last_mean", "decades", "the same at the last record"),
        (
            "decay_per_layer_mean",
            "",
            "factor of delta_rms per layer, going down, at step 0: least-squares fit",
        ),
        ("decay_per_layer_ci95", "", "half width of its 95 % interval"),
        ("decay_per_layer_predicted", "", "the same fit through the predicted delta_rms, of the same layers"),
        (
            "dead_fraction_max",
            "",
            "dead_fraction of the worst hidden layer at the last record, mean over seeds",
        ),
        ("saturated_fraction_max", "", "saturated_fraction of the worst hidden layer there, mean over seeds"),
    ),
    Column("verdict", "str", "", "every verdict that holds, first cause first, joined by commas"),
    Column("verdict_seeds", "str", "", "in how many seeds each verdict holds"),
    Column("advice", "str", "", "what to try next"),
)

TABLES: dict[str, tuple[Column, ...]] = {"layers": LAYERS, "steps": STEPS, "summary": SUMMARY}


def names(columns: tuple[Column, ...]) -> list[str]:
    return [column.name for column in columns]


def described(columns: tuple[Column, ...]) -> list[Column]:
    """The columns as a list for people has them: the bins of a histogram are one line."""
    kept = [column for column in columns if not column.name.startswith("bin_")]
    if len(kept) < len(columns):
        meaning = f"entries in each of {BINS} equal bins from low to high"
        kept.append(Column(f"bin_01...bin_{BINS:02}", "int", "", meaning))
    return kept
