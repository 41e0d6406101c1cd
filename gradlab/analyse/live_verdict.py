"""The verdict on a cell in training: what gradlab's own rule says of the records so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradlab.analyse.records import OF_PARAMETERS, Array, Records
from gradlab.analyse.rule import judge
from gradlab.analyse.verdicts import COLUMNS
from gradlab.tables.checks import STEP_COLUMNS

MOST = 256  # records kept: a run that records every step may have a million


class LiveVerdict:
    """Collects the records of seeds that train together.

    cell: the cell columns; chance: accuracy of always guessing the commonest class
    """

    def __init__(self, cell: Mapping[str, Any], chance: float | None) -> None:
        self.cell = cell
        self.chance = chance
        self._steps: list[int] = []
        self._records: list[dict[str, Array]] = []

    def add(self, step: int, record: Mapping[str, Array]) -> None:
        """One record: [replica, layer] by column name, the readout last, and [replica] by name."""
        self._steps.append(step)
        self._records.append({name: record[name] for name in COLUMNS if name in record})
        if len(self._steps) > MOST:  # every other one goes, of all but the first and the latest few
            kept = [*range(4), *range(4, MOST - 16, 2), *range(MOST - 16, MOST + 1)]
            self._steps = [self._steps[i] for i in kept]
            self._records = [self._records[i] for i in kept]

    def verdicts(self) -> list[tuple[str, str]]:
        """Each verdict with the seeds it holds in, `[("vanishing", "3/3")]`; empty before the first record of layers.

        After the last record it is the cell's verdict in summary.csv, if its seeds trained together and every record
        was kept.
        """
        records = self._arrays()
        if records is None:
            return []
        found = judge(records, self.chance)
        return list(zip(found.verdicts, found.seeds_text.split(","), strict=True))

    def _arrays(self) -> Records | None:
        if not self._records or "delta_rms" not in self._records[0]:
            return None
        every = {
            name: np.stack([np.asarray(one[name], dtype=np.float64) for one in self._records], axis=1)
            for name in self._records[0]
        }
        seeds, records, layers = every["delta_rms"].shape
        layered = {name: values for name, values in every.items() if name not in STEP_COLUMNS}
        layered["fan_out"] = np.full((seeds, records, layers), float(self.cell["width"]))
        present = np.ones((seeds, records), dtype=bool)
        return Records(
            cell=self.cell,
            seeds=np.arange(seeds),
            steps=np.array(self._steps, dtype=np.int64),
            layers=np.arange(1, layers),
            names=tuple(f"hidden_{layer}" for layer in range(1, layers)),
            hidden={name: values[..., :-1] for name, values in layered.items()},
            output={name: values[..., -1] for name, values in layered.items()},
            run={name: values for name, values in every.items() if name in STEP_COLUMNS},
            in_layers=present,
            in_steps=present,
            rows=np.ones((seeds, records, layers - 1), dtype=bool),
            parameters={name: every[name] for name in OF_PARAMETERS if name in every}
            | {"trains": np.zeros((seeds, records, layers))},
            owners=(*(f"hidden_{layer}" for layer in range(1, layers)), "output"),
        )
