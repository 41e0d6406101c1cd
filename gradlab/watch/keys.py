"""Which configuration keys mean something where the model is the user's own."""

from __future__ import annotations

from gradlab.config import KEYS, Key, Request
from gradlab.errors import Problem

OF_STACKS = (
    "training.stack_size",
    "recording.jacobian",
    "recording.histograms",
    "run.tables",
    "run.workers",
    "run.executor",
    "run.ray_address",
    "run.gpus_per_stack",
    "run.on_error",
    "run.checkpoint",
    "run.save_weights",
)
"""keys of gradlab's own stacks, besides those of [network]"""


def means_something(key: Key) -> bool:
    return key.section != "network" and key.path not in OF_STACKS


def without_meaning(request: Request) -> list[Problem]:
    """What was asked for and would be left undone. A key at its default is none: a saved config.toml has it, too."""
    return [
        Problem(request.where(path), "it has no meaning for a model of your own", f"{key.default} or nothing")
        for path, key in KEYS.items()
        if not means_something(key) and request.values(path) != (key.default,)
    ]
