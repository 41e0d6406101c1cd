"""Progress is live on a terminal, plain elsewhere, silent when told, and cheap."""

import io
from types import SimpleNamespace

import numpy as np
from rich.console import Console

from gradlab.report.progress import Progress

CELLS = [
    SimpleNamespace(id=name, columns=lambda name=name: {"cell": name, "activation": name, "depth": 20})
    for name in ("sigmoid", "relu")
]
ROW = {"val_accuracy_mean": 0.92, "verdict": "healthy"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def drive(progress: Progress, clock: Clock, cells: list[SimpleNamespace], frames: int = 1000) -> None:
    """Ten seconds of training, a record every hundredth of a second."""
    progress.begin(SimpleNamespace(cells=cells), frames * len(cells))
    for cell in cells:
        for step in range(frames):
            clock.now += 10 / frames
            progress.advance(cell, 1)
            progress.record(cell, step, {"delta_rms": 0.1 * 0.5 ** np.arange(21.0)[::-1] * np.ones((3, 1))})
        progress.cell_done(cell, ROW)
    progress.message("a warning")
    progress.end()


def test_without_a_terminal_one_plain_line_a_cell() -> None:
    stream, clock = io.StringIO(), Clock()
    drive(Progress(Console(file=stream, width=80), clock=clock), clock, CELLS)
    assert stream.getvalue().splitlines() == [
        "1/2 sigmoid, depth 20: accuracy 0.920, healthy",
        "2/2 relu, depth 20: accuracy 0.920, healthy",
        "a warning",
    ]


def test_on_a_terminal_at_most_eight_pictures_a_second() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(Console(file=stream, width=80, height=30, force_terminal=True), clock=clock)
    drive(progress, clock, CELLS[:1])
    pictures = stream.getvalue().count("steps/s")
    assert 20 < pictures <= 8 * 10 + 1


def test_the_live_picture_has_layers_speed_and_time_left() -> None:
    clock = Clock()
    progress = Progress(Console(file=io.StringIO(), width=60, height=40, force_terminal=True), clock=clock)
    progress.begin(SimpleNamespace(cells=CELLS[:1]), 4000)
    clock.now = 10.0
    progress.advance(CELLS[0], 1000)
    delta = np.ones((3, 1)) * 10.0 ** np.arange(-20, 1)
    progress.record(CELLS[0], 250, {"delta_rms": delta, "train_loss": np.full(3, 2.25)})
    lines = progress.picture(10.0).plain.splitlines()
    assert "25% 100 steps/s 0:30 left" in lines[0]
    assert "step 250, loss 2.25" in lines[1]
    assert [line.split()[0] for line in lines[2:23]] == ["output", *map(str, range(20, 0, -1))]
    lengths = [line.count("█") for line in lines[2:23]]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > 5 * lengths[-1]
    assert "1.0e-19 of what enters layer 20" in lines[23]
    assert max(map(len, lines)) <= 60
    progress.end()


def test_quiet_says_nothing_and_a_short_run_draws_nothing() -> None:
    stream, clock = io.StringIO(), Clock()
    drive(Progress(Console(file=stream, force_terminal=True), quiet=True, clock=clock), clock, CELLS)
    assert stream.getvalue() == ""
    progress = Progress(Console(file=stream, force_terminal=True), clock=clock)
    progress.begin(SimpleNamespace(cells=CELLS[:1]), 10)
    progress.advance(CELLS[0], 10)
    progress.end()
    assert stream.getvalue() == ""
