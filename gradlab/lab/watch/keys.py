"""Which configuration keys mean something where the model is the user's own."""

from __future__ import annotations

from gradlab import sensors
from gradlab.base.errors import Problem
from gradlab.config import KEYS, Key, Request

OF_STACKS = (
    "training.stack_size",
    *(
        f"recording.{sensor.table.option.name}"
        for sensor in sensors.optional().values()
        if sensor.table.option
    ),
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


OF_DATA = (
    "data.name",
    "data.target",
    "data.csv",
    "training.batch_size",
    "recording.probe",
    "recording.eval_rows",
)
"""keys that the user's own batches stand in for"""


OF_GRADLABS_NETS = "it has no meaning for a model of your own"


def means_something(key: Key) -> bool:
    return key.section != "network" and key.path not in OF_STACKS


def without_meaning(request: Request, own_batches: bool) -> list[Problem]:
    """What was asked for and would be left undone. A key at its default is none: a saved config.toml has it, too."""
    problems = []
    for path, key in KEYS.items():
        beside = own_batches and path in OF_DATA
        if (beside or not means_something(key)) and request.values(path) != (key.default,):
            what = "it has no meaning beside --batches" if beside else OF_GRADLABS_NETS
            allowed = "leave it out" if key.default in (None, "") else f"{key.default}, or leave it out"
            problems.append(Problem(request.where(path), what, allowed))
    return problems
