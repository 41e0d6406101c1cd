"""Progress is live on a terminal, plain elsewhere, silent when told, and cheap."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from rich.console import Console

from gradlab.analyse.findings import verdicts_text
from gradlab.analyse.live_verdict import MOST, LiveVerdict
from gradlab.config import plan, resolve
from gradlab.lab.experiment import execute
from gradlab.report.progress import Progress

CELLS = [
    SimpleNamespace(
        id=name,
        columns=lambda name=name: {"cell": name, "activation": name, "depth": 20, "width": 64},
        dataset=lambda: SimpleNamespace(chance=0.1),
    )
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


def test_the_verdict_forms_and_ends_as_the_summary_has_it(tmp_path: Path) -> None:
    """Real training: after the last record the display's verdict is that of summary.csv, seed counts included."""
    for name, more in {
        "vanishing": {"activation": "sigmoid", "depth": 12, "steps": 120},
        "diverged": {"activation": "relu", "depth": 6, "lr": 100.0, "steps": 20},
        "healthy": {"activation": "relu", "depth": 3, "steps": 120},
        "dead": {"activation": "relu", "depth": 4, "init": "gaussian:sigma_w=1:bias=-30", "steps": 120},
    }.items():
        console = Console(file=io.StringIO(), width=100, height=40, force_terminal=True)
        progress = Progress(console)
        seen: list[str] = []
        judge = progress._judge

        def judged(now: float, progress=progress, judge=judge, seen=seen) -> None:  # type: ignore[no-untyped-def]
            progress._judge_due = 0.0  # at every record
            judge(now)
            seen.append(progress.picture(now).plain.splitlines()[-1])

        progress._due = progress._judge_due = 0.0
        progress._judge = judged  # type: ignore[method-assign]
        progress._draw = lambda progress=progress: progress._judge(1e9)  # type: ignore[method-assign]
        flags = {"width": 16, "seeds": 3, "out": str(tmp_path / name), "workers": 1, **more}
        outcome = execute(plan.make(resolve(flags=flags)), progress)
        row = outcome.summary.iloc[0]
        assert name in row["verdict"]
        assert seen[-1] == f"verdict so far: {verdicts_text(row['verdict'].split(','), row['verdict_seeds'])}"


def test_a_run_that_records_every_step_is_judged_from_a_thinned_memory() -> None:
    live = LiveVerdict({"activation": "sigmoid", "width": 64}, 0.1)
    for step in range(3000):
        live.add(step, {"delta_rms": 0.1 * 0.2 ** np.arange(21.0)[::-1] * np.ones((2, 1))})
    assert len(live._steps) <= MOST and live._steps[:4] == [0, 1, 2, 3]
    assert live._steps[-10:] == list(range(2990, 3000))
    assert live.verdicts() == [("vanishing", "2/2")]


def test_seeds_of_another_stack_are_judged_by_themselves() -> None:
    progress = Progress(Console(file=io.StringIO(), width=100, height=40, force_terminal=True))
    progress.begin(SimpleNamespace(cells=CELLS[:1]), 100)
    for step in range(3):
        for seeds, factor in (((0, 1), 0.2), ((2,), 1.0)):
            delta = 0.1 * factor ** np.arange(21.0)[::-1] * np.ones((len(seeds), 1))
            progress.record(CELLS[0], step, {"delta_rms": delta, "seeds": np.array(seeds)})
    assert progress._verdicts_of is not None and progress._verdicts_of() == [("undecided", "1/1")]
    assert progress._of_seeds[0, 1].verdicts() == [("vanishing", "2/2")]
    progress.end()


def test_a_model_of_ones_own_is_shown_by_path_and_type_and_asked_only_for_pictures() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(Console(file=stream, width=60, height=30, force_terminal=True), clock=clock)
    asked = []

    def newest() -> tuple[int, list[str], dict[str, object]]:
        asked.append(clock.now)
        clock.now += 0.01  # what it takes to know is a hundredth of the time until the next picture
        numbers = {"delta_rms": np.array([[1e-3, 0.1]]), "train_loss": 0.7, "val_r2": 0.25}
        return len(asked), ["body.0 Linear", "head Conv1d"], numbers

    progress.start("mynets:net, on t.csv", 1000, lambda: [("vanishing", "1/1")])
    for step in range(1000):
        clock.now += 0.01
        progress.advance_to(step + 1, newest)
    said = progress.picture(clock.now).plain
    progress.end()
    assert 8 <= len(asked) <= 11
    assert "mynets:net, on t.csv, step" in said and "loss 0.7, R^2 0.25" in said
    assert "body.0 Linear " in said and "  head Conv1d " in said
    assert "delta reaches" not in said, "there is one hidden layer"
    assert "verdict so far: vanishing (1/1 seeds)" in said
