"""The text of `Recorder.report()`: the verdict, why, and what the gradient does layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from gradlab.analyse import Diagnosis

SHOWN = (
    "delta_rms",
    "delta/theory",
    "h/theory",
    "weight_grad_norm",
    "update_ratio",
    "z_std",
    "saturated_fraction",
    "dead_fraction",
    "nonfinite",
)

NOTED = 0.1
"""Share of the loop's own time from which on it is said where recording's time goes."""

NAMED = 8
"""Rows without theory that are named."""


def report(rows: pd.DataFrame, diagnosis: Diagnosis, overhead: float) -> str:
    """rows: as `Recorder.to_frame` gives them. Layers stand in the order in which they are executed."""
    lines = [f"Verdict: {', '.join(diagnosis.verdicts)}"]
    lines += [f"  {finding.verdict} {finding.place}: {finding.evidence}" for finding in diagnosis.findings]
    lines += [f"  {note}" for note in diagnosis.notes]
    if diagnosis.advice:
        lines.append(f"Advice: {diagnosis.advice}")
    rows = rows.assign(
        **{f"{name}/theory": rows[f"{name}_rms"] / rows[f"{name}_rms_predicted"] for name in ("delta", "h")}
    )
    steps = sorted(set(rows["step"]))
    for step in dict.fromkeys((steps[0], steps[-1])):
        part = rows[(rows["step"] == step) & (rows["seed"] == rows["seed"].iloc[0])]
        columns = [name for name in SHOWN if part[name].notna().any()]
        shown = part[["layer", "name", *columns]]
        lines += ["", f"Step {step}:"]
        lines.append(shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.3g}"))
    first = rows[(rows["step"] == steps[0]) & rows["delta_rms"].notna()]
    if first["delta/theory"].notna().any():
        none = [*dict.fromkeys(first.loc[first["delta/theory"].isna(), "name"])]
        names = ", ".join(none[:NAMED]) + (", ..." if len(none) > NAMED else "")
        lines += [
            "",
            "delta/theory, h/theory: measured over predicted; of delta from the end of the model down.",
        ]
        lines.append(f"Theory of delta starts at, or does not know: {names}")
    small = "; most of it is a fixed time for each layer of a record, which larger nets hardly notice"
    cost = f"recording took {overhead:.1%} of the loop's own time{small if overhead > NOTED else ''}"
    lines += ["", f"Recorded {len(steps)} steps; {cost}."]
    return "\n".join(lines)
