"""steps.csv: what the whole net does at each record."""

from __future__ import annotations

from dataclasses import replace

from gradlab.tables.cell import RECORD
from gradlab.tables.spec import Column, Kind, TableSpec, floats


def _word(name: str, meaning: str) -> Column:
    return Column(name, "str", "", meaning)


def _known(name: str, unit: str, meaning: str, kind: Kind = "float", signed: bool = False) -> Column:
    """A number that not every model has."""
    return Column(name, kind, unit, meaning, empty=True, signed=signed)


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
        Column("val_loss", "float", "loss", "mean loss of `eval_rows` validation rows", signed=True),
        *floats(
            ("val_accuracy", "", "share of `eval_rows` validation rows classified right"),
        ),
        Column(
            "val_r2",
            "float",
            "",
            "R^2 on `eval_rows` validation rows, of numbers: share of variance explained, -inf if an output is none",
            signed=True,
        ),
        Column(
            "eval_rows",
            "int",
            "rows",
            "validation rows evaluated: the same part in every record (`--eval-rows`), in the last one the whole split",
            empty=True,
        ),
        *floats(
            ("learning_rate", "", "learning rate of this step, schedule included (empty at the last record)"),
            ("grad_norm", "loss / parameter", "L2 norm of all parameter gradients together, before clipping"),
        ),
    ),
)

OVER_SAMPLES = " over samples"
"""Behind the name, in `output_activation`, of a softmax that runs along the axis of the samples."""

OF_ANY_MODEL: tuple[Column, ...] = (
    _known("probe_loss", "loss", "loss of the probe's outputs, in eval mode", signed=True),
    _known("probe_accuracy", "", "share of the probe's targets that the outputs name right"),
    _known(
        "baseline_loss",
        "loss",
        "loss of the best output that is the same for every probe sample",
        signed=True,
    ),
    _known("baseline_accuracy", "", "share of the commonest class among the probe's targets"),
    _known(
        "unpulled_fraction",
        "",
        "share of the probe's first 64 samples that the criterion gives no gradient at the first record, and a "
        "larger loss than the best constant output has",
    ),
    _known(
        "sample_mixing",
        "",
        "how far a sample's outputs change when the probe's first half is left out, of their deviation over "
        "samples; of a net that is far from fitting its probe, after the last step",
    ),
    _known("output_noise", "", "the same when the outputs are asked for a second time, in eval mode"),
    _known("output_min", "output", "smallest output on the probe", signed=True),
    _known("output_max", "output", "largest output on the probe", signed=True),
    _known("output_rms", "output", "root mean square output on the probe"),
    _known("output_spread", "output", "root mean square deviation of the outputs over the probe's samples"),
    _known("output_units", "units", "outputs of one sample along the axis of its classes", "int"),
    _word("output_shape", "shape of the probe's outputs"),
    _word(
        "output_activation", "function that made the outputs that the criterion takes; empty for a plain map"
    ),
    _word("criterion", "loss function that the criterion calls; its own name where it calls none of torch's"),
    _word("target_kind", "classes, binary, one-hot, labels (several at once) or numbers"),
    _word("target_shape", "shape of the probe's targets"),
    _known("target_min", "target", "smallest target of the probe", signed=True),
    _known("target_max", "target", "largest target of the probe", signed=True),
    _known("target_rms", "target", "root mean square target of the probe"),
    _known("target_spread", "target", "root mean square deviation of the targets over the probe's samples"),
    _known("target_distinct", "", "how many different targets the probe has", "int"),
    _known("target_nonfinite", "", "number of targets of the probe that are NaN or infinite", "int"),
    _known("input_rms", "input", "root mean square input of the probe"),
    _known("input_spread", "input", "root mean square deviation of the inputs over the probe's samples"),
    _known("input_ratio", "", "largest deviation of a feature over the lower quartile of those that vary"),
    _known("input_constant", "", "share of the features that are the same in every sample of the probe"),
    _known("input_nonfinite", "", "number of inputs of the probe that are NaN or infinite", "int"),
    _known("carried_gradients", "", "share of the gradients that were not zeroed since the update before"),
    _word("number_format", "the coarsest format of the modules' outputs: float32, bfloat16, float16 ..."),
    _word("optimizer_used", "optimiser that was about to step"),
)
"""What the steps.csv of a user's own model has beside: its probe, its targets and its criterion."""

STEPS_OF_ANY_MODEL = replace(STEPS, columns=(*STEPS.columns, *OF_ANY_MODEL))
