"""Training for a reproduction: `gradlab.compare` into a folder that is thrown away, so that nothing is read back."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gradlab.library import Result, compare


def trained(**settings: Any) -> Result:
    """The tables of `gradlab.compare(**settings)`, measured now; its files are gone when this returns."""
    with TemporaryDirectory(prefix="gradlab-reproduce-") as folder:
        return compare(out=str(Path(folder) / "run"), **settings)


def last(result: Result, column: str, **cell: Any) -> list[float]:
    """A column of steps.csv after the last update, one value a seed, of the cells whose columns equal `cell`."""
    steps = result.steps
    for name, value in cell.items():
        steps = steps[steps[name] == value]
    assert len(steps), f"no cell with {cell}"
    return [float(value) for value in steps[steps["step"] == steps["step"].max()].sort_values("seed")[column]]
