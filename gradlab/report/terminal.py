"""The summary of a run or a comparison, fresh or saved, as plain tables that fit from 40 columns on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from gradlab.analyse.advice import in_parts
from gradlab.analyse.budget import words_of_row
from gradlab.analyse.findings import seeds_once
from gradlab.analyse.headline import headline
from gradlab.analyse.origin import is_users
from gradlab.analyse.verdicts import WORDS
from gradlab.base.places import short_path
from gradlab.base.text import one_line, wrapped
from gradlab.config.files import trust_flag
from gradlab.report import selections
from gradlab.report.commands import advised
from gradlab.report.figures import leading
from gradlab.report.glyphs import Glyphs, number, power_of_ten
from gradlab.report.layer_table import layer_table
from gradlab.report.selections import Frames
from gradlab.report.summary_columns import fixed, measured, measures_of, plus_minus, with_interval
from gradlab.tables import score

if TYPE_CHECKING:
    from rich.console import Console

MOST_CELLS = 60
DELTA = "delta: the gradient of one sample's loss at a layer's pre-activation z (rms)"


class Shown(Frames, Protocol):
    """What the renderers read of an outcome or of a saved result."""

    @property
    def out(self) -> Path: ...
    @property
    def files(self) -> Sequence[Path]: ...
    @property
    def failed(self) -> Sequence[Any]: ...
    @property
    def cached(self) -> bool: ...


def _colour(word: str) -> str:
    """A verdict's colour; none for a word that is none of gradlab's."""
    return WORDS[word].style.terminal if word in WORDS else ""


def verdict_text(verdict: str, glyphs: Glyphs) -> Text:
    """The verdicts in words, coloured by the first, which is the cause."""
    words = [part.strip() for part in verdict.split(",")]
    return Text(glyphs.text(", ".join(words)), style=_colour(words[0]))


def verdict_line(head: str, found: Sequence[tuple[str, str]], glyphs: Glyphs) -> Text:
    """`verdict: vanishing (3/3 seeds), not-learning (2/3 seeds)`, each verdict in its colour; the seeds once where they
    are the same for all."""
    if not found:
        return Text(f"{head}none, since no layer was recorded")
    line = Text(head, style="bold")
    for nth, (verdict, seeds) in enumerate(seeds_once(found)):
        line.append(", " if nth else "")
        line.append(glyphs.text(verdict), style=f"bold {_colour(verdict)}")
        line.append(f" ({seeds} seeds)" if seeds else "", style="dim")
    return line


def print_run(outcome: Shown, console: Console) -> None:
    """One cell: layers with bars of delta and weight gradient, losses, verdict, files, next command."""
    glyphs = Glyphs.of(console)
    row = selections.rows_of(outcome.summary)[0] if len(outcome.summary) else {}
    _line(console, glyphs, _headline(row, outcome), "bold")
    steps = selections.records(outcome.layers) if len(outcome.layers) else []
    if steps:
        table, note = layer_table(outcome.layers, steps, console.width, glyphs)
        console.print(Padding(table, (1, 0, 0, 0)), highlight=False)
        _line(console, glyphs, DELTA, "dim")
        _line(console, glyphs, note, "dim")
    console.print()
    _line(console, glyphs, _learning_line(outcome.steps, row))
    _print_verdict(outcome, row, console, glyphs)
    _print_failures(outcome, console, glyphs)
    _print_files(outcome, console, glyphs)
    _print_advice(row, outcome.out, console, glyphs)
    print_command("next", next_command(outcome), console, glyphs)


def print_compare(outcome: Shown, console: Console) -> None:
    """Many cells: one row each in the order of the ranking, then failures, files and next command."""
    glyphs = Glyphs.of(console)
    summary = outcome.summary
    if len(summary):
        ranked = selections.ranking(summary)
        _line(console, glyphs, f"{headline(summary)}.", "bold")
        _line(console, glyphs, _grid_headline(summary, outcome))
        against = selections.against_best(outcome)
        table = _cell_table(ranked, against, console.width, glyphs)
        console.print(Padding(table, (1, 0, 0, 0)), highlight=False)
        if "tied" in against.values():
            _line(
                console,
                glyphs,
                f"=: not distinguishable from the best with {_count(summary['seeds'].max(), 'seed')} "
                "(paired t test, Holm's correction)",
                "dim",
            )
        if len(ranked) > MOST_CELLS:
            _line(console, glyphs, f"{len(ranked) - MOST_CELLS} cells between are in summary.csv", "dim")
        console.print()
        _line(console, glyphs, _ranking_line(ranked))
        counts = summary["verdict"].fillna("").replace("", "no verdict").value_counts()
        _line(
            console,
            glyphs,
            "Verdicts: " + "; ".join(f"{n} {v}" for v, n in counts.items()).replace(",", " + "),
        )
        _line(console, glyphs, _spent_line(ranked))
    _print_failures(outcome, console, glyphs)
    _print_files(outcome, console, glyphs)
    print_command("next", next_command(outcome), console, glyphs)


def print_plan(cells: Sequence[dict[str, Any]], console: Console) -> None:
    """Cells that would be trained: what all of them share, and in a table where they differ."""
    glyphs = Glyphs.of(console)
    frame = pd.DataFrame(cells).assign(seeds=0)  # the cell columns are those before it
    differ = selections.varying(frame) or ["activation", "depth"]
    _line(console, glyphs, f"all: {_shared(frame, differ)}", "bold")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    for name in differ:
        table.add_column(
            name, justify="right" if selections.is_number(frame, name) else "left", overflow="fold"
        )
    table.add_column("cell", overflow="fold", style="dim")
    for cell in cells:
        shown = (selections.show(cell[name]) for name in (*differ, "cell"))
        table.add_row(*(glyphs.text(one_line(text)) for text in shown))
    console.print(table, highlight=False)


def next_command(outcome: Shown) -> str:
    """One concrete command worth typing after this result."""
    configured = next((file for file in outcome.files if Path(file).name == "config.toml"), None)
    one = len(outcome.summary) == 1
    if not len(outcome.layers) and configured:  # `watch` refuses to run without records
        command = f"gradlab {'run' if one else 'compare'} --config {quote(short_path(configured))}"
        return f"{command}{trust_flag(configured)} --record log"
    if not any(Path(file).name == "report.html" for file in outcome.files):
        return f"gradlab report {quote(short_path(outcome.out))}"
    if one and not is_users({"init": outcome.summary.iloc[0]["init"]}):
        row = outcome.summary.iloc[0]
        names = dict.fromkeys((str(row["activation"]), "relu", "selu"))
        same = f"--depth {row['depth']}"
        if configured:
            same = f"--config {quote(short_path(configured))}{trust_flag(configured)}"
        return f"gradlab compare {same} --activation {quote(','.join(names))}"
    return f"gradlab diagnose {quote(short_path(outcome.out))}"


# ---- one cell


def _headline(row: dict[str, Any], outcome: Shown) -> str:
    if not row:
        return "no finished cell"
    shape = f"{row['activation']}, depth {row['depth']}, width {row['width']}"
    for name in ("init", "norm", "residual"):
        if str(row[name]) not in ("none", "own"):
            shape += f", {name} {row[name]}"
    shape += f", {row['optimizer']} lr {row['lr']:g}, on {row['dataset']}"
    last = int(outcome.steps["step"].max()) if len(outcome.steps) else 0
    shape += f": {_count(row['seeds'], 'seed')}, {_count(last, 'step')}"
    return shape + (" (saved result, not trained again)" if outcome.cached else "")


def _learning_line(steps: pd.DataFrame, row: dict[str, Any]) -> str:
    if not len(steps) or not row:
        return ""
    good = score.of_row(row)
    loss, course = selections.course(steps, "train_loss"), selections.course(steps, good.column)
    text = f"training loss {number(loss.median[0])}"
    if len(loss.at) > 1:
        text += f" → {measured(row['train_loss_mean'])}{plus_minus(row['train_loss_ci95'], number)}"
    if np.isfinite(course.median).any():
        text += f"; {good.name} {course.median[0]:.3f}"
        if len(course.at) > 1:
            text += f" → {with_interval(row, good, fixed(3))}"
    return text


def _print_verdict(outcome: Shown, row: dict[str, Any], console: Console, glyphs: Glyphs) -> None:
    if not row:
        return
    _line(
        console, glyphs, f"{headline(outcome.summary, selections.optional_table(outcome, 'time'))}.", "bold"
    )
    console.print(verdict_line("verdict: ", selections.verdicts(row), glyphs), highlight=False)
    attenuation, decay = selections.attenuation(row), float(row["decay_per_layer_mean"])
    if not np.isnan(attenuation):
        text = f"delta from the top hidden layer to the first: {_factor(attenuation)}"
        if not np.isnan(decay):
            text += f", {number(decay)} x a layer"
            if not np.isnan(predicted := float(row["decay_per_layer_predicted"])):
                text += f" (theory: {number(predicted)})"
        _line(console, glyphs, text)
        if spent := words_of_row(row):
            _line(console, glyphs, f"on the way down {spent}")


def _print_advice(row: dict[str, Any], folder: Path, console: Console, glyphs: Glyphs) -> None:
    """The advice as a command with its reason; as the sentence it is where no command follows it."""
    if not isinstance(row.get("advice"), str) or not row["advice"]:
        return
    command = advised(row["advice"], row, folder)
    if not command:
        _line(console, glyphs, f"advice: {row['advice']}")
        return
    print_command("try", command, console, glyphs)
    for line in wrapped(in_parts(row["advice"])[1], console.width, "      ", "      "):
        _line(console, glyphs, line, "dim")


def _factor(attenuation: float) -> str:
    """`×1.2e-16 (attenuation -15.9)`; an infinite one in words."""
    if attenuation == -np.inf:
        return "0: nothing arrives (attenuation -inf)"
    if attenuation == np.inf:
        return "without bound (attenuation inf)"
    return f"×{power_of_ten(attenuation)} (attenuation {fixed(1)(attenuation)})"


# ---- many cells


def _grid_headline(summary: pd.DataFrame, outcome: Shown) -> str:
    seeds = _count(summary["seeds"].max(), "seed")
    shared = _shared(summary, selections.varying(summary))
    text = f"{_count(len(summary), 'cell')}, {seeds} each; all: {shared}"
    return text + (" (saved result, not trained again)" if outcome.cached else "")


def _shared(cells: pd.DataFrame, differ: Sequence[str]) -> str:
    """What all cells have, but for what none has."""
    first = cells.iloc[0]
    return ", ".join(
        f"{name} {selections.show(first[name])}"
        for name in selections.cell_columns(cells)
        if name != "cell" and name not in differ and str(first[name]) != "none"
    )


def _cell_table(ranked: pd.DataFrame, against: dict[str, str], width: int, glyphs: Glyphs) -> Table:
    """Ranked cells as rows; columns drop out from the least needed on where the console is narrow."""
    differ = selections.varying(ranked) or ["activation"]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    values = [max(len(selections.show(v)) for v in ranked[name]) for name in differ]
    needed = sum(max(n, len(name)) + 1 for n, name in zip(values, differ, strict=True))
    merge = needed > width // 2
    named = max(14, min(width // 2, width - 24))  # what the place, the accuracy and a verdict leave
    room = width - 5 - (named if merge else needed) - 12
    kept = set()
    every = measures_of(ranked)
    for measure in sorted(every, key=lambda measure: measure.rank):
        if room >= measure.width or measure.rank == 0:
            kept.add(measure.column)
            room -= measure.width
    measures = [measure for measure in every if measure.column in kept]
    table.add_column("#", justify="right", no_wrap=True)
    if merge:
        table.add_column("cell", overflow="fold", width=named)
    for name in differ if not merge else ():
        table.add_column(
            name, justify="right" if selections.is_number(ranked, name) else "left", no_wrap=True
        )
    for measure in measures:
        table.add_column(glyphs.text(measure.terminal), justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    rows = selections.rows_of(ranked)
    for place in selections.ends(len(rows), MOST_CELLS):
        row = rows[place]
        label = (
            [selections.fold(selections.name_cell(row, differ), named)]
            if merge
            else [selections.show(row[name]) for name in differ]
        )
        table.add_row(
            f"{'=' if against.get(str(row['cell'])) == 'tied' else ''}{place + 1}",
            *(glyphs.text(text) for text in label),
            *(measure.on_terminal(row) for measure in measures),
            verdict_text(row["verdict"] if isinstance(row["verdict"], str) else "", glyphs),
        )
    return table


def _ranking_line(ranked: pd.DataFrame) -> str:
    differ = selections.varying(ranked) or ["activation"]
    best = selections.rows_of(ranked)[0]
    good = score.of_row(best)
    text = (
        f"Best: {selections.name_cell(best, differ)} with {good.name} {with_interval(best, good, fixed(3))}"
    )
    if len(differ) > 1 and "activation" in differ:
        means = score.means(ranked).groupby(ranked["activation"]).mean().sort_values(ascending=False)
        text += ". Mean over its cells: " + ", ".join(f"{name} {value:.3f}" for name, value in means.items())
    return text


def _spent_line(ranked: pd.DataFrame) -> str:
    """Who loses or gains the gradient in the cell where it changes most at birth."""
    known = ranked[np.isfinite(ranked["attenuation_mean"])]
    if not len(known):
        return ""
    row = selections.rows_of(known.loc[[known["attenuation_mean"].abs().idxmax()]])[0]
    name = selections.name_cell(row, selections.varying(ranked) or ["activation"])
    spent = words_of_row(row)
    return f"Largest change of the gradient at birth: {name}, where {spent}" if spent else ""


# ---- the closing lines


def _print_failures(outcome: Shown, console: Console, glyphs: Glyphs) -> None:
    for failure in outcome.failed:
        _line(console, glyphs, f"failed: {failure_text(failure)}", "red")


def failure_text(failure: Any) -> str:
    """`relu, depth 5: what happened` of a failure, whose cell may be known or not."""
    cell, message = getattr(failure, "cell", None), getattr(failure, "message", failure)
    columns = cell.columns() if cell is not None and hasattr(cell, "columns") else {}
    return (
        f"{selections.name_cell(columns, ['depth', 'init', 'norm', 'lr'])}: {message}"
        if columns
        else str(message)
    )


def _print_files(outcome: Shown, console: Console, glyphs: Glyphs) -> None:
    if outcome.files:
        console.print()
        inside = [Path(file) for file in outcome.files]
        paths = [f.relative_to(outcome.out) if f.is_relative_to(outcome.out) else f for f in inside]
        names = [str(path) for path in paths if path.parts[0] != "figures"]
        if pictures := [path for path in paths if path.parts[0] == "figures"]:
            more = len(pictures) - 1
            first = [figure.name for figure in leading("cell", "grid")]
            shown = next((path for name in first for path in pictures if path.stem == name), pictures[0])
            names.append(f"{shown}" + (f" and {_count(more, 'figure')} beside it" if more else ""))
        _line(console, glyphs, f"written to {short_path(outcome.out)}: {', '.join(names)}")
        for page in (path for path in inside if path.suffix == ".html"):
            console.print(Text("page: ").append(path_text(page, glyphs)), highlight=False, soft_wrap=True)


def path_text(path: Path, glyphs: Glyphs) -> Text:
    """A path that a terminal which knows links opens."""
    return Text(glyphs.text(short_path(path)), style=Style(link=path.absolute().as_uri()))


def print_command(head: str, command: str, console: Console, glyphs: Glyphs) -> None:
    """`next: gradlab ...` on one line however long it is, so that it can be copied."""
    line = Text(f"{head}: ".ljust(6))
    line.append(glyphs.text(command), style="bold")
    console.print(line, highlight=False, soft_wrap=True)


def _line(console: Console, glyphs: Glyphs, text: str, style: str = "") -> None:
    """The text, broken at blanks alone: a path that is longer than the console stays whole."""
    for line in wrapped(glyphs.text(text), console.width):
        console.print(Text(line, style=style), highlight=False, soft_wrap=True)


def _count(count: Any, noun: str) -> str:
    return f"{int(count)} {noun}" + ("" if int(count) == 1 else "s")
