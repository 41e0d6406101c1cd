"""attention-collapse: an attention puts nearly all weight on one entry, since its logits are too large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradlab.analyse import cure
from gradlab.analyse.attending import Attending
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Bools, Facts
from gradlab.analyse.fault import Fault, lasting
from gradlab.analyse.updates import other_rate
from gradlab.analyse.verdict import POOR, Verdict, no_remedies

COLLAPSED = 0.2
"""Share of the entropy's maximum at which an attention counts as collapsed. Normal logits of deviation s leave about
1.2 / s of it from s = 4 on, however many keys there are (4 to 1,024): 0.9 for the deviation of 1 that the division by
sqrt(d_head) gives, 0.31 and 0.14 for queries and keys of 16 and 64 units without it."""

DIGITS = 16.0
"""Largest logit below which none is collapsed by their size: exp(-16) is 1e-7, float32's last digit beside 1."""

FROZEN = 0.05
"""Share at which it counts in a net that learns too, where it was so from the first record to the last: s is about 24.
At birth the keys know nothing yet, so that the one entry is an arbitrary one; a softmax passes p (1 - p) of a gradient,
so that its queries and keys stay as they were drawn. A net that came to it by learning, as a head that copies does, has
another first record."""

CAPPED = 50.0
"""Largest logit that this takes: what Gemma 2 caps the logits of trained heads at. A trained model that is trained on
may have heads that rest on one entry (the first token), with logits of 10 to 40."""


def judge(facts: Facts) -> list[Fault | None]:
    attentions = facts.records.attention.values()
    shape = facts.counts.shape
    weak = _any([_holds(each, COLLAPSED, DIGITS) for each in attentions], shape)
    strong = _any([_always(facts, _holds(each, FROZEN, CAPPED)) for each in attentions], shape)
    return lasting(facts, weak, strong, np.full(shape, -1))


def _holds(attention: Attending, share: float, logit: float) -> Bools:
    with np.errstate(invalid="ignore"):
        return np.asarray((attention.entropy <= share) & (attention.logit_max >= logit))


def _always(facts: Facts, holds: Bools) -> Bools:
    """[S, T]: where it holds in every record of the seed."""
    return holds & (holds | ~facts.counts).all(1, keepdims=True)


def _any(found: Sequence[Bools], shape: tuple[int, ...]) -> Bools:
    return np.any(found, axis=0) if found else np.zeros(shape, dtype=bool)


def _ill(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> tuple[list[Attending], int, int]:
    """The attentions that are collapsed in the first of the seeds, and where in the records that is."""
    seed, record = seeds[0], faults[0].reference
    return [
        each for each in facts.records.attention.values() if _holds(each, COLLAPSED, DIGITS)[seed, record]
    ], seed, record  # fmt: skip


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    ill, seed, record = _ill(facts, seeds, faults)
    worst = min(ill, key=lambda each: float(each.entropy[seed, record]))
    share, largest = worst.entropy[seed, record], worst.logit_max[seed, record]
    count = len(facts.records.attention)
    many = f"{len(ill)} of {count} attentions, most {worst.name}" if count > 1 else worst.name
    return (
        f"in {many}, the entropy of the weights is {share:.2g} of its maximum (1 is uniform), so that nearly all of "
        f"them lie on one entry: logits go up to {largest:.3g}"
    )


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    ill, _, _ = _ill(facts, seeds, faults)
    width, by_hand = ill[0].head_dim, ill[0].function == "softmax"
    if faults[0].at_birth and by_hand:
        yield cure.code(
            f"logits = query @ key.transpose(-2, -1) / math.sqrt({width})",
            f"in {ill[0].name}, products of {width} units have {width**0.5:.3g} times the deviation of one "
            "(F.scaled_dot_product_attention divides by that itself)",
        )
    elif faults[0].at_birth:
        reason = (
            f"in {ill[0].name} the weights of queries and keys are too large for a division by sqrt({width})"
        )
        yield cure.code("nn.init.xavier_uniform_(weight) for the weights of queries and keys", reason)
    else:
        reason = "weights of queries and keys that grow fast make the logits too large"
        yield from other_rate(facts, seeds, 0.1, reason)
    yield cure.code(
        f"query, key = F.layer_norm(query, [{width}]), F.layer_norm(key, [{width}])",
        "the size of normalised queries and keys bounds the logits (Henry et al. 2020; Dehghani et al. 2023)",
    )


VERDICT = Verdict(
    name="attention-collapse",
    order=22,
    summary="nearly all weight of an attention lies on one entry, since its logits are too large",
    headline="An attention looks at one place only",
    severity="slows learning",
    style=POOR,
    judge=judge,
    evidence=evidence,
    remedies=no_remedies,
    cures=cures,
)
