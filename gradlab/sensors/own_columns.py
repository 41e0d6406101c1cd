"""`--metrics standard,mymetrics:kurtosis`: which columns of layers.csv are asked for, and those of the user's own.

A column of one's own is a function of one layer's h on the probe, [sample, unit], that returns one number; the column
bears the function's name. It is called for each replica by itself, on a copy, and cannot disturb what is recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gradlab.base.errors import ConfigError, Problem, unknown
from gradlab.base.grammar import parse_item
from gradlab.base.own import Own, load_own
from gradlab.base.registry import OWN
from gradlab.tables.cell import CELL
from gradlab.tables.layers import LAYERS_FULL, LEVELS, is_own, own_column
from gradlab.tables.spec import names

KNOWN = frozenset((*LAYERS_FULL.every, *names(CELL)))


@dataclass(frozen=True)
class Metrics:
    """The columns of layers.csv that are asked for.

    text:  canonical; level: the word for gradlab's own columns; own: the user's own, by the name of the column
    """

    text: str
    level: str
    own: Mapping[str, Own]

    @property
    def full(self) -> bool:
        return self.level == "full"


def get(
    text: str, where: str = "metrics", levels: Sequence[str] = LEVELS, taken: Collection[str] = ()
) -> Metrics:
    """What a text asks for: one of `levels`, and the user's own columns, which are imported.

    taken: names that no column of the user's own may bear, besides those of gradlab's columns. Raises ConfigError
    naming `where`.
    """
    words: list[str] = []
    own: dict[str, Own] = {}
    for part in str(text).split(","):
        if not is_own(part):
            words.append(part.strip())
            continue
        name = own_column(part).name
        if name in KNOWN or name in own or name in taken:
            raise ConfigError(Problem(where, f"there is a column {name!r} already", "another name"))
        own[name] = load_own(parse_item(part, where), where)
    for word in words:
        if word not in levels:
            raise ConfigError(unknown(where, "metrics", word, levels, ", ".join((*levels, OWN))))
    if len(words) > 1:
        raise ConfigError(Problem(where, f"{' and '.join(words)} together", f"one of {', '.join(levels)}"))
    level = words[0] if words else LEVELS[0]
    if own and level not in LEVELS:
        message = f"{level} looks at no activations, which a column of your own is taken on"
        raise ConfigError(Problem(where, message, " or ".join(LEVELS)))
    return Metrics(",".join([level, *(each.text for each in own.values())]), level, own)
