"""Progress on stderr while cells train: live bars of delta on a terminal, a plain line a cell elsewhere.

A picture is drawn at most 8 times a second, and never more often than keeps drawing below 1 % of the time; the
verdict on the records so far is judged under the same two limits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.live import Live
from rich.text import Text

from gradlab.analyse.live_verdict import LiveVerdict
from gradlab.base.text import one_line
from gradlab.report import selections
from gradlab.report.console import PlainConsole
from gradlab.report.glyphs import Glyphs, number
from gradlab.report.selections import Array
from gradlab.report.terminal import verdict_line, verdict_text
from gradlab.tables.score import ACCURACY, R2

if TYPE_CHECKING:
    from collections.abc import Callable

FRAME_SECONDS = 0.125
SHARE_OF_TIME = 0.01
PATIENCE_SECONDS = 0.5  # nothing is drawn for a run that is over sooner
LIVE_LAYERS = 24
SCALARS = {"train_loss": "loss", ACCURACY.column: ACCURACY.short, R2.column: R2.short}
"""what the line of the cell says of the newest record"""


class Progress:
    """An observer that shows how far a plan is. `clock` is replaced in tests only."""

    def __init__(
        self,
        console: PlainConsole | None = None,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or PlainConsole(stderr=True)
        self.quiet = quiet
        self._glyphs = Glyphs.of(self.console)
        self._clock = clock
        self._live: Live | None = None
        self._total = self._done = self._cells = self._finished = 0
        self._started = self._due = 0.0
        self._names: dict[str, str] = {}
        self._title = ""
        self._step = 0
        self._delta: Array | None = None
        self._scalars: dict[str, float] = {}
        self._of_seeds: dict[tuple[int, ...], LiveVerdict] = {}
        self._verdicts_of: Callable[[], list[tuple[str, str]]] | None = None
        self._layers: list[str] | None = None
        self._verdicts: list[tuple[str, str]] = []
        self._judge_due = 0.0

    def begin(self, plan: Any, total_steps: int) -> None:
        """Start. total_steps: updates of all cells, each counted once for each of its seeds."""
        columns = [{"cell": cell.id, **cell.columns()} for cell in plan.cells]
        if columns:
            self._names = selections.labels(pd.DataFrame(columns))
        self._total, self._cells = total_steps, len(columns)
        self._done = self._finished = 0
        self._of_seeds, self._verdicts_of, self._verdicts = {}, None, []
        self._started = self._clock()
        self._due = self._judge_due = self._started + PATIENCE_SECONDS

    def start(self, title: str, total_steps: int, verdicts: Callable[[], list[tuple[str, str]]]) -> None:
        """Start with a model that is no plan's. verdicts: gives those on the records so far."""
        self._title, self._total, self._cells, self._done = title, total_steps, 1, 0
        self._verdicts_of, self._verdicts = verdicts, []
        self._layers, self._delta, self._scalars = None, None, {}  # of the training before
        self._started = self._clock()
        self._due = self._judge_due = self._started + PATIENCE_SECONDS

    @property
    def due(self) -> bool:
        """Whether the time of the next picture has come."""
        return self.console.is_terminal and not self.quiet and self._clock() >= self._due

    def advance_to(self, steps: int, newest: Callable[[], tuple[int, list[str], Mapping[str, Any]]]) -> None:
        """So many updates are done in all of a model that is no plan's.

        newest: gives its step, the names of its layers and the newest numbers, as of `record`; asked where a picture is
        due, and its time counts as drawing
        """
        self._done = steps
        if self.due:
            began = self._clock()
            self._step, self._layers, numbers = newest()
            self._take(numbers)
            self._draw(self._clock() - began)

    def advance(self, cell: Any, steps: int) -> None:
        """So many more updates are done, seeds counted."""
        self._done += steps
        self._title = self._name(cell)
        self._draw()

    def record(self, cell: Any, step: int, layers: Mapping[str, Array]) -> None:
        """One record: [replica, layer] by column name; train_loss, accuracies and seeds [replica] where given."""
        if not self.console.is_terminal or self.quiet:
            return
        self._title, self._step = self._name(cell), step
        self._take(layers)
        if self._cells == 1:
            self._collect(cell, step, layers)
        self._draw()

    def _take(self, numbers: Mapping[str, Any]) -> None:
        if "delta_rms" in numbers:
            self._delta = np.asarray(numbers["delta_rms"], dtype=np.float64)
        for name in SCALARS:
            if name in numbers:
                self._scalars[name] = float(np.mean(np.asarray(numbers[name], dtype=np.float64)))

    def _collect(self, cell: Any, step: int, layers: Mapping[str, Array]) -> None:
        """Keep a record for the verdict on the seeds that train together with it."""
        seeds = tuple(int(seed) for seed in layers.get("seeds", ()))
        if seeds not in self._of_seeds or step == 0:
            self._of_seeds[seeds] = LiveVerdict(cell.columns(), cell.dataset().chance)
        newest = self._of_seeds[seeds]
        newest.add(step, layers)
        self._verdicts_of = newest.verdicts

    def cell_done(self, cell: Any, row: Mapping[str, Any]) -> None:
        """One cell is finished; `row` is its row of summary.csv."""
        self._finished += 1
        self._delta, self._scalars = None, {}
        if self._cells == 1 and self.console.is_terminal:
            return  # the summary that follows says it all
        line = Text(self._glyphs.text(f"{self._finished}/{self._cells} {self._name(cell)}: "))
        for good in (ACCURACY, R2):
            value = row.get(good.mean)
            if isinstance(value, float) and not np.isnan(value):
                line.append(f"{good.short} {value:.3f}, ")
        verdict = row.get("verdict")
        line.append(
            verdict_text(verdict if isinstance(verdict, str) and verdict else "finished", self._glyphs)
        )
        self._print(line)

    def message(self, text: str) -> None:
        """A warning or a hint."""
        self._print(Text(self._glyphs.text(text), style="yellow"))

    def end(self) -> None:
        """Take the picture away; safe to call twice and after an error."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _name(self, cell: Any) -> str:
        return one_line(self._names.get(str(cell.id), str(cell.id)))

    def _print(self, line: Text) -> None:
        if not self.quiet:
            self.console.print(line, highlight=False, soft_wrap=not self.console.is_terminal)

    def _draw(self, spent: float = 0.0) -> None:
        """Draw, if the time has come; spent: seconds that it took to know what."""
        now = self._clock()
        if self.quiet or now < self._due or not self.console.is_terminal:
            return
        self._judge(now)
        began = self._clock()
        self._show(self.picture(now))
        self._due = now + max(FRAME_SECONDS, (self._clock() - began + spent) / SHARE_OF_TIME)

    def _show(self, picture: Text) -> None:
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        self._live.update(picture, refresh=True)

    def _judge(self, now: float) -> None:
        """Judge the newest records, if the time has come again."""
        if self._verdicts_of is None or now < self._judge_due:
            return
        began = self._clock()
        self._verdicts = self._verdicts_of()
        self._judge_due = now + max(FRAME_SECONDS, (self._clock() - began) / SHARE_OF_TIME)

    def picture(self, now: float) -> Text:
        """What the terminal shows at the moment: the bar with its times, the cell, and its layers."""
        width = max(self.console.width - 1, 10)
        lines = [self._bar_line(now, width), self._cell_line(width)]
        if self._delta is not None:
            median = np.median(self._delta, axis=0)
            if self._cells == 1:
                lines += [*self._layer_lines(median, width), *self._verdict_lines(width)]
            else:
                kept = selections.shown_layers(len(median), min(width - 8, 60))[::-1]
                spark = self._glyphs.spark([median[i] for i in kept], selections.decades(median))
                lines.append(Text(f"delta   {spark}"[:width], style="cyan"))
        return Text("\n").join(lines)

    def _bar_line(self, now: float, width: int) -> Text:
        share = self._done / self._total if self._total else 1.0
        elapsed = max(now - self._started, 1e-9)
        speed = self._done / elapsed
        left = (self._total - self._done) / speed if speed > 0 else float("nan")
        text = f" {100 * share:3.0f}% {speed:,.0f} steps/s {_clock_time(left)} left"
        return Text(self._glyphs.bar(share, max(width - len(text), 4)), style="green").append(
            text[:width], style=""
        )

    def _cell_line(self, width: int) -> Text:
        text = f"{self._title}, step {self._step}"
        if self._cells > 1:
            text = f"{self._finished}/{self._cells} cells; {text}"
        for name, label in SCALARS.items():
            if name in self._scalars and not (name == R2.column and np.isnan(self._scalars[name])):
                text += f", {label} {number(self._scalars[name])}"
        return Text(self._glyphs.text(text)[:width])

    def _layer_lines(self, median: Array, width: int) -> list[Text]:
        """Delta of the readout and of the hidden layers, top first, on one log scale; what it comes to."""
        rows = min(LIVE_LAYERS, max(self.console.height - 5, 4))
        scale = selections.decades(median)
        lines = []
        names = [one_line(name) for name in self._layers or ()] or [
            *map(str, range(1, len(median))),
            "output",
        ]
        room = min(max(6, *(len(name) for name in names)), max(width // 2, 6))
        for i in reversed(selections.shown_layers(len(median), rows)):
            name = names[i] if len(names[i]) <= room else f"...{names[i][3 - room :]}"
            bar = self._glyphs.log_bar(median[i], scale, max(width - room - 10, 2))
            style = "cyan" if np.isfinite(median[i]) and median[i] > 0 else "bold red"
            lines.append(Text(f"{name:>{room}} {bar} {number(median[i]):>8}"[:width], style=style))
        hidden = median[:-1]
        if len(hidden) > 1 and np.isfinite(hidden).all() and hidden[-1] > 0:
            ratio = hidden[0] / hidden[-1]
            first, top = (names[0], names[-2]) if self._layers else ("layer 1", f"layer {len(hidden)}")
            text = f"delta reaches {first} as {number(ratio)} of what enters {top}"
            lines.append(Text(text[:width]))
        return lines

    def _verdict_lines(self, width: int) -> list[Text]:
        if not self._verdicts:
            return []
        line = verdict_line("verdict so far: ", self._verdicts, self._glyphs)
        if line.cell_len > width:
            line = verdict_line("so far: ", [(name, "") for name, _ in self._verdicts], self._glyphs)
        line.truncate(width)
        return [line]


def _clock_time(seconds: float) -> str:
    """`0:42`, `1:02:03`; `-:--` when it cannot be known."""
    if not np.isfinite(seconds):
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
