"""How a claim gets its verdict: a list of conditions on measured numbers, stated before the numbers are known."""

from __future__ import annotations

from collections.abc import Sequence

from gradlab.papers.rows import Measured, Provenance, Row, Tolerance, Verdict

ARTICLE = "Aspects of Deep Learning: Activation Functions"
Condition = tuple[str, bool]


def decide(claim: int, statement: str, conditions: Sequence[Condition]) -> Verdict:
    """supported where every condition holds, refuted where none does, and otherwise it depends: on those named.

    conditions: (what has to hold for the claim, whether it does), each a comparison of measured numbers.
    """
    held = [text for text, holds in conditions if holds]
    failed = [text for text, holds in conditions if not holds]
    if not failed:
        return Verdict(str(claim), statement, "supported", "; ".join(held))
    if not held:
        return Verdict(str(claim), statement, "refuted", "it does not hold that " + "; ".join(failed))
    because = f"holds: {'; '.join(held)}; does not hold: {'; '.join(failed)}"
    return Verdict(str(claim), statement, "it depends", because)


def measurement(
    claim: int,
    row: str,
    statement: str,
    measured: Measured,
    *,
    published: float | str = "",
    tolerance: Tolerance | None = None,
    source: str = ARTICLE,
    provenance: Provenance = "P",
) -> Row:
    """A row of a claim: reported only, unless a derivation gives it a tolerance."""
    return Row(
        row=f"{claim}. {row}",
        statement=statement,
        published=published,
        measured=measured,
        tolerance=tolerance,
        source=source,
        provenance=provenance,
    )
