"""What to change for the verdicts on a cell: remedies in order, each a change of the configuration with its reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError

from gradlab import activations
from gradlab.analyse.findings import ALL_WELL
from gradlab.analyse.remedy import Remedy, as_text
from gradlab.analyse.verdicts import VERDICTS
from gradlab.analyse.verdicts.diverged import VERDICT as DIVERGED
from gradlab.base.errors import ConfigError
from gradlab.config.sections import Network, Training
from gradlab.parts import inits

Sections = tuple[Network, Training]

FANS = ((64, 64), (64, 10))
"""(fan_in, fan_out) at which two initialisers are compared: Glorot's and LeCun's differ only in the second."""


def remedies(
    verdicts: Sequence[str], network: Network, training: Training, at_birth: Collection[str] = ()
) -> list[Remedy]:
    """The remedies for what holds, the likeliest and smallest first; none that would change nothing, none twice.

    verdicts: first cause first, as a diagnosis gives them: the first one's remedies come first. A word that is none
        of gradlab's verdicts has no remedy.
    at_birth: those of them that held before any update. What overflows there, no other training can change.
    """
    found: list[Remedy] = []
    current = {f"network.{key}": value for key, value in network.model_dump().items()}
    current |= {f"training.{key}": value for key, value in training.model_dump().items()}
    for verdict in (VERDICTS[name] for name in verdicts if name in VERDICTS):
        for remedy in verdict.remedies(network, training):
            changes = {key: value for key, value in remedy.changes.items() if current[key] != value}
            if _same_init(network, changes):
                del changes["network.init"]
            if verdict is DIVERGED and verdict.name in at_birth and not _changes_the_net(changes):
                continue
            if set(changes) - remedy.along and all(changes != other.changes for other in found):
                found.append(replace(remedy, changes=changes))
    return found


def advice_for(
    verdicts: Sequence[str],
    cell: Mapping[str, object],
    sections: Sections | None = None,
    at_birth: Collection[str] = (),
) -> str:
    """One short sentence for summary.csv: the first remedy for a cell; "" when healthy.

    at_birth: those of the verdicts that held before any update
    cell: its columns, read where the cell is known from a file alone and nobody has its sections
    """
    if not verdicts or tuple(verdicts) == ALL_WELL:
        return ""
    found = remedies(verdicts, *(sections or sections_of(cell)), at_birth)
    if not found:
        return ""
    flags = " ".join(
        f"--{key.partition('.')[2].replace('_', '-')} {as_text(v)}" for key, v in found[0].changes.items()
    )
    return f"try {flags}: {found[0].reason}"


def in_parts(advice: str) -> tuple[str, str]:
    """The flags that an advice of summary.csv names, and its reason: `try --init he: ...` as `advice_for` writes it, or
    `...: --lr 0.01` as a cure of `gradlab watch`. An advice without flags is all reason."""
    head, _, tail = advice.partition(": ")
    if head.startswith("try --"):
        return head.removeprefix("try "), tail
    head, _, tail = advice.rpartition(": ")
    return (tail, head) if head and tail.startswith("--") else ("", advice)


def sections_of(cell: Mapping[str, object]) -> Sections:
    """The sections as far as the cell columns tell them; what they do not tell keeps its default."""

    def known(section: type[Network] | type[Training]) -> dict[str, object]:
        found = {}
        for key in section.model_fields:
            value = cell.get(key)
            value = value.item() if hasattr(value, "item") else value
            try:
                section.model_validate({key: value})
            except ValidationError:  # a user's own model: its columns are not ours
                continue
            found[key] = value
        return found

    return Network.model_validate(known(Network)), Training.model_validate(known(Training))


def _changes_the_net(changes: Mapping[str, object]) -> bool:
    return any(key.startswith("network.") for key in changes)


def _same_init(network: Network, changes: Mapping[str, str | float]) -> bool:
    """Whether the new initialiser draws what the old one draws: `auto` is He's for ReLU."""
    if "network.init" not in changes or "network.activation" in changes:
        return False
    try:
        activation = activations.get(network.activation)
        old, new = inits.get(network.init, activation), inits.get(str(changes["network.init"]), activation)
    except ConfigError:  # known by its cell columns alone, which a user's own need not be importable from
        return False
    if (
        old.sigma_w is None
        or new.sigma_w is None
        or (old.distribution, old.bias, old.base) != (new.distribution, new.bias, new.base)
    ):
        return False
    return all(
        old.sigma_w(*fans) == new.sigma_w(*fans) and old.sigma_b(*fans) == new.sigma_b(*fans) for fans in FANS
    )
