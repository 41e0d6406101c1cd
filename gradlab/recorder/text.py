"""The text of `Recorder.report()`: the verdict, why, and what the gradient does layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from gradlab.analyse import Diagnosis

SHOWN = (
    "delta_rms",
    "weight_grad_norm",
    "update_ratio",
    "z_std",
    "saturated_fraction",
    "dead_fraction",
    "nonfinite",
)


def report(rows: pd.DataFrame, diagnosis: Diagnosis, overhead: float) -> str:
    """rows: as `Recorder.to_frame` gives them. Layers stand in the order in which they are executed."""
    lines = [f"Verdict: {', '.join(diagnosis.verdicts)}"]
    lines += [f"  {finding.verdict} {finding.place}: {finding.evidence}" for finding in diagnosis.findings]
    lines += [f"  {note}" for note in diagnosis.notes]
    if diagnosis.advice:
        lines.append(f"Advice: {diagnosis.advice}")
    steps = sorted(set(rows["step"]))
    for step in dict.fromkeys((steps[0], steps[-1])):
        part = rows[(rows["step"] == step) & (rows["seed"] == rows["seed"].iloc[0])]
        columns = [name for name in SHOWN if part[name].notna().any()]
        shown = part[["layer", "name", *columns]]
        lines += ["", f"Step {step}:"]
        lines.append(shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.3g}"))
    lines += ["", f"Recorded {len(steps)} steps; recording took {overhead:.1%} of the loop's own time."]
    return "\n".join(lines)
