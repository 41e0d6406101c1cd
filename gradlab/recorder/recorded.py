"""What has been recorded of a model so far: its tables, the verdict on them, the folder they are saved in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from gradlab.recorder.attention import Attention
from gradlab.recorder.ledger import Ledger
from gradlab.recorder.processes import Processes
from gradlab.recorder.steps import StepLedger
from gradlab.recorder.task import Task
from gradlab.recorder.text import report
from gradlab.recorder.through_time import ThroughTime
from gradlab.tables.table import write_csv

if TYPE_CHECKING:
    import pandas as pd

    from gradlab.analyse import Diagnosis
    from gradlab.analyse.findings import Finding
    from gradlab.store.results import Results
    from gradlab.tables.table import Table

UNRECORDED = (
    "Nothing is recorded. `recorder.step` stands inside `with recorder:`, after `loss.backward()` and before "
    "`optimizer.step()`, at a step that the schedule records."
)
UNASKED = (
    "Of inputs, outputs and targets nothing is known here: "
    "Recorder(model, probe=x, targets=y, criterion=loss_function) tells more."
)
JUDGED_AFTER = 32  # records, up to which each one is judged for `on_fault`


class Recorded:
    """model: what was recorded; seconds: of the host that recording took"""

    model: nn.Module
    seconds: float
    _ledger: Ledger
    _run: StepLedger
    _task: Task
    _time: ThroughTime
    _attention: Attention
    _told: set[str]
    _processes: Processes

    @property
    def overhead(self) -> float:
        raise NotImplementedError

    def table(self) -> Table:
        """The rows so far: a column of `layers.csv` each, and where it applies."""
        return self._ledger.table()

    def steps_table(self) -> Table:
        """The records so far as rows of `steps.csv`, with the columns of any model."""
        self._settle()
        return self._run.table()

    def time_table(self) -> Table:
        """What the gradient does in each step of the recurrent layers: rows of `time.csv`, none without such layers."""
        self._ledger.flush()
        return self._time.table(self._ledger.order)

    def attention_table(self) -> Table:
        """How the attention heads share out their weights, on the probe: rows of `attention.csv`, none without any."""
        return self._attention.table()

    @property
    def verdicts(self) -> tuple[str, ...]:
        """What the records so far are called, first cause first; () before the first record."""
        return self.diagnose().verdicts if self._ledger.records else ()

    def to_frame(self) -> pd.DataFrame:
        """The rows so far, columns of layers.csv without the cell's; what does not apply is NaN."""
        return self.table().frame()

    def to_csv(self, path: str | Path) -> None:
        """Write the rows so far as layers.csv is written: what does not apply is empty."""
        write_csv(Path(path), self.table())

    def save(self, folder: str | Path, *, force: bool = False) -> Results | None:
        """Write the records as a results folder, which `gradlab report`, `diagnose` and `compare` read as any other.

        The same model's older records in that folder are replaced. Raises UserError where it holds something else
        (force replaces other results), GradlabError where it cannot be written, DataError while nothing is recorded.
        Where several processes record together the first one writes, and the others, which have the same, get None.
        """
        if not self._processes.writes:
            return None
        from gradlab.recorder.saving import RecordTables, save

        devices = {parameter.device.type for parameter in self.model.parameters()}
        timings = {"seconds": self.seconds, "recording_overhead": 1 + self.overhead}
        model = type(self.model).__qualname__
        tables = RecordTables(self.table(), self.steps_table(), self.time_table(), self.attention_table())
        return save(folder, tables, model, min(devices), timings, force)

    def diagnose(self, ruleset: str = "gradlab") -> Diagnosis:
        """The verdict on the rows so far. The layer that is executed last counts as the readout.

        Raises DataError while nothing is recorded.
        """
        from gradlab.analyse import diagnose

        frame = self.to_frame()
        if len(frame):
            hidden = int(frame["layer"].max()) - 1
            frame.insert(0, "depth", max(hidden, 1))
        steps, time = self.steps_table().frame(), self.time_table().frame()
        attention = self.attention_table().frame()
        return diagnose(frame, steps, ruleset=ruleset, cell_columns=(), time=time, attention=attention)[0]

    def report(self) -> str:
        """The verdict with its evidence, and the first and last record layer by layer, as text; where
        nothing is recorded, what to do."""
        if not self._ledger.records:
            return UNRECORDED
        said = report(self.to_frame(), self.diagnose(), self.overhead)
        return said if self._task.criterion else f"{said}\n{UNASKED}"

    def _settle(self) -> None:
        """Move what waits to the host."""
        self._ledger.flush()
        self._run.settle(self._task.asked())

    def _tell(self, told: Callable[[Finding], object]) -> None:
        """Say what has come to hold. Judging takes as long as the records are many, so it is done ever more rarely."""
        records = self._ledger.records
        if records % max(1, records // JUDGED_AFTER):
            return
        for finding in self.diagnose().findings:
            if not finding.at_birth and finding.verdict not in self._told:
                self._told.add(finding.verdict)
                told(finding)
