"""Mutants that change nothing a user could see, by name and reason: no test can kill them."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "gradlab/activations/shaping.py",
        "FARTHEST, NODES = 12.0, 300",
        "FARTHEST, NODES = 13.0, 300",
    ): "the integrals over a normal variable end where exp(-72) of it lies; any further end gives the same",
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
