"""Training for a reproduction: a comparison into a folder that is thrown away, so that nothing is read back."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gradlab.api import Result
from gradlab.base.errors import GradlabError
from gradlab.config import resolve
from gradlab.config.plan import make
from gradlab.lab.experiment import execute


def trained(**settings: Any) -> Result:
    """The tables of `gradlab.compare(**settings)`, trained now in this process; its files are gone afterwards.

    The environment's settings are left out: a reproduction is the same for everyone.
    """
    with TemporaryDirectory(prefix="gradlab-reproduce-") as folder:
        flags = {"out": str(Path(folder) / "run"), "workers": 1, **settings}
        outcome = execute(make(resolve(file=None, environment={}, flags=flags, sets=(), lists=True)))
        if outcome.failed:
            raise GradlabError("; ".join(failure.message for failure in outcome.failed))
        return Result(outcome)  # it reads the tables, which needs the folder


def last(result: Result, column: str, **cell: Any) -> list[float]:
    """A column of steps.csv after the last update, one value a seed, of the cells whose columns equal `cell`."""
    steps = result.steps
    for name, value in cell.items():
        steps = steps[steps[name] == value]
    assert len(steps), f"no cell with {cell}"
    return [float(value) for value in steps[steps["step"] == steps["step"].max()].sort_values("seed")[column]]
