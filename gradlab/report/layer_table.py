"""One cell's layers as the rows of a terminal table, with bars on a log scale, in as many columns as fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table
from rich.text import Text

from gradlab.analyse.agreement import agreement
from gradlab.base.text import one_line
from gradlab.report import selections
from gradlab.report.glyphs import Glyphs, number, percent, power_of_ten
from gradlab.report.selections import Profile

if TYPE_CHECKING:
    import pandas as pd

MOST_LAYERS = 24


@dataclass(frozen=True)
class _Layout:
    """Which columns a width has room for. `bars`: of delta first, last, weight gradient first, last."""

    bars: int
    gradients: int
    both_shares: bool
    ratio: bool

    def fixed(self, number_width: int) -> int:
        """Columns of text needed beside the bars, the blanks between the columns included."""
        barred_gradients = max(self.bars - 2, 0)
        plain = self.gradients - barred_gradients + (1 if self.bars < 2 else 0)
        shares = 2 * 8 + 1 if self.both_shares else 2 * 5
        return 7 + 9 * self.bars + (number_width + 1) * plain + shares + (6 if self.ratio else 0)


LAYOUTS = (
    _Layout(4, 2, True, True),
    _Layout(2, 2, True, True),
    _Layout(2, 2, True, False),
    _Layout(2, 1, False, False),
    _Layout(1, 0, False, False),
)


def _outside_band(layers: pd.DataFrame) -> set[int]:
    """The layers whose delta is further from the prediction than nets of this width scatter."""
    found = agreement(layers)
    return set() if found is None else {int(layer) for layer in found.layers[found.outside]}


def layer_table(layers: pd.DataFrame, steps: list[int], width: int, glyphs: Glyphs) -> tuple[Table, str]:
    """The layers as rows, the readout on top, as the gradient meets them; and a note on scale and rows."""
    names = dict(zip(layers["layer"], layers["name"], strict=True))
    ends = [steps[0], steps[-1]] if steps[-1] != steps[0] else [steps[0]]
    width -= max(max(map(len, (_layer_name(*item) for item in names.items()))) - 6, 0)
    numbers = max(7, len(f"step {ends[-1]}"))
    layout = next((lay for lay in LAYOUTS if width - lay.fixed(numbers) >= 6 * lay.bars), LAYOUTS[-1])
    bar_width = max(2, min((width - layout.fixed(numbers)) // layout.bars, 20))

    def of(column: str) -> list[Profile]:
        return [selections.profile(layers, step, column) for step in ends]

    delta, gradient, dead, saturated = map(
        of, ("delta_rms", "weight_grad_norm", "dead_fraction", "saturated_fraction")
    )
    scale = selections.decades(*(p.median for p in delta))
    gradient_scale = selections.decades(*(p.median for p in gradient))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    cells: list[Callable[[int], Text | str]] = []

    def add(head: str, cell: Callable[[int], Text | str], min_width: int, left: bool = False) -> None:
        table.add_column(
            head, justify="left" if left else "right", no_wrap=True, min_width=min_width, overflow="crop"
        )
        cells.append(cell)

    def add_quantity(
        head: str, profiles: list[Profile], bars: int, used: tuple[int, int], which: range
    ) -> None:
        for nth in which:
            values = profiles[nth].median
            text = f"{head}\nstep {ends[nth]}"
            if nth < bars:
                add(
                    text,
                    lambda i, v=values: Text(  # type: ignore[misc]
                        f"{glyphs.log_bar(v[i], used, bar_width)} {number(v[i]):>7}", style=_bar_style(v[i])
                    ),
                    bar_width + 8,
                    left=True,
                )
            else:
                add(text, lambda i, v=values: number(v[i]), 7)  # type: ignore[misc]

    positions = delta[0].at
    add("\nlayer", lambda i: _layer_name(int(positions[i]), names.get(positions[i], "")), 6)
    add_quantity("delta", delta, layout.bars, scale, range(len(ends)))
    skip = max(len(ends) - layout.gradients, 0)
    add_quantity(
        "weight grad" if layout.bars > 2 else "w. grad",
        gradient,
        layout.bars - 2,
        gradient_scale,
        range(skip, len(ends)),
    )
    shares = ("dead", dead), ("satur.", saturated) if layout.both_shares else ("sat.", saturated)
    for head, profiles in shares:
        used = profiles if layout.both_shares else profiles[-1:]
        add(
            f"{head}\n%",
            lambda i, used=used: glyphs.text("→".join(percent(p.median[i]) for p in used).strip("→")),  # type: ignore[misc]
            4,
        )
    note = f"delta bars: log scale {power_of_ten(scale[0])} to {power_of_ten(scale[1])}"
    if layout.ratio and "delta_rms_predicted" in layers:
        predicted = selections.profile(layers, steps[0], "delta_rms_predicted").median
        if np.isfinite(predicted).any():
            ratio = np.divide(
                delta[0].median, predicted, out=np.full_like(predicted, np.nan), where=predicted > 0
            )
            outside = _outside_band(layers)
            mark = {True: "!", False: ""}
            add(
                "meas.\n/pred.",
                lambda i: number(round(float(ratio[i]), 3)) + mark[positions[i] in outside],
                5,
            )
            if outside:
                note += "; ! = not explained by finite width (4 sigma)"
    shown = selections.shown_layers(len(positions), MOST_LAYERS)
    for i in reversed(shown):
        table.add_row(*(cell(i) for cell in cells))
    if len(shown) < len(positions):
        note += f"; {len(shown)} of {len(positions)} layers shown, all are in layers.csv"
    seeds = layers["seed"].nunique() if "seed" in layers else 1
    return table, note + (f"; medians over {seeds} seeds" if seeds > 1 else "")


def _layer_name(layer: int, name: str) -> str:
    """The number of a hidden layer of the stacked network; of a user's model with the end of the module's name, since
    sentences count layers and code names modules."""
    if not name or name.startswith("hidden_"):
        return str(layer)
    return name if name == "output" else f"{layer} {one_line(name)[-10:]}"


def _bar_style(value: float) -> str:
    return "bold red" if value == 0 or not np.isfinite(value) else "cyan"
