"""Mutants that change nothing a user could see, by name and reason: no test can kill them."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str, str], str] = {}
"""(file, the line before, the line after; both stripped) -> why the two do the same."""


def reason_for(file: str, before: str, after: str) -> str:
    """Why this mutant changes nothing; empty if nobody showed that it does."""
    return EQUIVALENT.get((file, before, after), "")
