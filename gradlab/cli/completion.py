"""What a shell completes after a flag: names from the registries, several of them behind commas."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gradlab.config import KEYS, Key
from gradlab.config.shipped import names as shipped_names
from gradlab.parts.registries import REGISTRIES


def one_of(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Completes the text behind the last comma."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(last)]

    return complete


def of_key(key: Key) -> Callable[[str], list[str]]:
    """The parts or words that a key of the configuration takes; nothing for a number or a file."""
    return one_of(lambda: key.parts or key.choices or SUGGESTED.get(key.path, ()))


SUGGESTED = {
    "recording.probe": ("auto", "512", "all"),
    "recording.eval_rows": ("auto", "512", "all"),
    "recording.metrics": ("standard", "full"),
    "run.ray_address": ("auto",),
}
"""Words of keys that take other texts, too."""

files = one_of(shipped_names)
activations = one_of(lambda: REGISTRIES["activations"]())
inits = one_of(lambda: REGISTRIES["inits"]())
settings = one_of(lambda: [f"{path}=" for path in KEYS])
keys = one_of(lambda: [key.flag for key in KEYS.values() if key.takes_list])


def rulesets() -> list[str]:
    from gradlab.analyse.diagnosis import EVERY
    from gradlab.analyse.rulesets import RULESETS

    return [*RULESETS, EVERY]


def formats() -> tuple[str, ...]:
    from gradlab.report.build import FORMATS

    return FORMATS
