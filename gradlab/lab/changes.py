"""What remedies and cures that are tried have in common: a changed configuration, and where the attempts go."""

from __future__ import annotations

from collections.abc import Mapping

from gradlab.config.sections import Config

FOLDER = "remedies"
"""In the results folder of what was sick: the attempts, 1, 2, ..."""


def with_changes(config: Config, changes: Mapping[str, object]) -> Config:
    """The configuration with dotted keys set to new values, checked as any other."""
    sections = config.model_dump()
    for key, value in changes.items():
        section, _, name = key.partition(".")
        sections[section][name] = value
    return Config.model_validate(sections)
