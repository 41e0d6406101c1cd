"""The numbers of the page: what its pictures draw, thinned so that the page stays small however many cells there are.

Gradients are sent as thousandths of log10 (-12345 is 10^-12.345); ZERO and INFINITE stand for what has no
logarithm, null for what does not apply. Shares are sent in thousandths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.report import distributions, palette, selections
from gradlab.report.axes import GAP_SHARE, LEAST_GAP
from gradlab.report.distributions import FULL, OVERLAP, TAIL, WIDE
from gradlab.report.quantities import GRADIENTS, LEAST_SHARE, LOSSES, SCORES, SHARES
from gradlab.report.selections import Array, Frames, Profile, Tables, thin
from gradlab.sensors.extra.histograms import BINS
from gradlab.tables.score import R2

if TYPE_CHECKING:
    import pandas as pd

ZERO, INFINITE = -9_999_999, 9_999_999
LOOK = {
    "zero": ZERO,
    "infinite": INFINITE,
    "strip": [LEAST_GAP, GAP_SHARE],
    "ridge": {"overlap": OVERLAP, "full": FULL, "tail": TAIL, "wide": WIDE},
    "light": asdict(palette.LIGHT),
    "dark": asdict(palette.DARK),
    "marks": list(palette.MARKERS.values()),
    "dashes": [dash for _, dash in palette.DASHES],
    "map": palette.MAP_STOPS,
    "gradients": {column: gradient.name for column, gradient in GRADIENTS.items()},
    "shares": SHARES,
    "least_share": LEAST_SHARE,
    "losses": LOSSES,
    "scores": SCORES,
}
"""what the figures that matplotlib draws and the page's own plots have in common, for the page's script"""
BUDGET = 700_000  # numbers in a page: about 4 MB
HISTOGRAM_BUDGET = 400_000  # numbers of histograms in a page: about 1.2 MB
HISTOGRAMS = ((34, 24), (16, 14), (8, 14), (3, 14), (3, 8))
"""records and layers of a cell whose histograms are sent, most first"""
MOST_PLOTTED = 400
MOST_BESIDE = 12
"""cells of which the page draws what happens through time and in attention"""
MOST_LINES, MOST_TIMES, MOST_HEADS = 8, 64, 16


@dataclass(frozen=True)
class Detail:
    """How much of a cell is sent: seed bands or not, and at most so many records and layers."""

    bands: bool
    records: int
    layers: int

    def numbers(self, records: int, layers: int) -> int:
        """How many numbers a cell of so many records and layers comes to."""
        per_field = len(GRADIENTS) * (3 if self.bands else 1) + len(SHARES)
        return min(records, self.records) * min(layers, self.layers) * per_field


LADDER = (
    Detail(True, 64, 400),
    Detail(False, 64, 400),
    Detail(False, 32, 200),
    Detail(False, 16, 100),
    Detail(False, 12, 60),
    Detail(False, 8, 30),
    Detail(False, 3, 20),
)


def choose(sizes: list[tuple[int, int]]) -> Detail:
    """The most detail that keeps all cells, given as (records, layers), inside the budget."""
    fitting = (d for d in LADDER if sum(d.numbers(*size) for size in sizes) <= BUDGET)
    return next(fitting, LADDER[-1])


def logs(values: Array) -> list[Any]:
    """An array of gradients as nested lists of thousandths of log10."""
    with np.errstate(invalid="ignore"):
        coded = np.round(1000 * selections.log10(values))
    coded = np.where(values == 0, ZERO, np.where(np.isinf(values), INFINITE, coded))
    return plain(coded)


def plain(values: Array, scale: float = 1.0) -> list[Any]:
    """An array as nested lists of whole numbers, NaN as None."""
    scaled = np.round(values * scale)
    found: list[Any] = np.where(np.isfinite(scaled), scaled, np.nan).astype(object).tolist()
    return _whole(found)


def _whole(values: list[Any]) -> list[Any]:
    return [_whole(v) if isinstance(v, list) else None if v != v else int(v) for v in values]


def short(values: Array, digits: int = 4) -> list[float | str | None]:
    """Numbers of `digits` digits; infinities as text, NaN as None."""
    return [None if np.isnan(v) else str(v) if np.isinf(v) else float(f"{v:.{digits}g}") for v in values]


def cell_data(layers: pd.DataFrame, steps: pd.DataFrame, detail: Detail) -> dict[str, Any]:
    """Everything the page draws of one cell."""
    at, numbers, delta = selections.cube(layers, "delta_rms")
    kept_steps, kept_layers = thin(len(at), detail.records), thin(len(numbers), detail.layers)

    def cut(values: Array) -> Array:
        """[layer, step] -> [kept step, kept layer]"""
        return values[np.ix_(kept_layers, kept_steps)].T

    names = layers.drop_duplicates("layer").set_index("layer")["name"]
    found: dict[str, Any] = {
        "steps": [int(at[i]) for i in kept_steps],
        "layers": [int(numbers[i]) for i in kept_layers],
        "names": [_short_name(str(names[int(numbers[i])])) for i in kept_layers],
        "seeds": int(delta.shape[0]),
        "readout": selections.has_readout(Tables(layers=layers)),
    }
    place = {int(numbers[i]): nth for nth, i in enumerate(kept_layers)}
    lines = [[place[layer] for layer in line if layer in place] for line in selections.lines(layers)]
    if len(lines) > 1:  # places among `layers`: of the stream, and of each branch and head beside it
        found["lines"] = [lines[0], *filter(None, lines[1:])]
    for column in GRADIENTS:
        values = selections.cube(layers, column)[2]
        found[column] = {"m": logs(cut(selections.median(values)))}
        if detail.bands and delta.shape[0] > 1:
            with np.errstate(invalid="ignore"):
                found[column] |= {
                    "lo": logs(cut(np.fmin.reduce(values, axis=0))),
                    "hi": logs(cut(np.fmax.reduce(values, axis=0))),
                }
    for column in SHARES:
        if column in layers and layers[column].notna().any():
            found[column] = plain(cut(selections.median(selections.cube(layers, column)[2])), 1000)
    if "delta_rms_predicted" in layers and layers["delta_rms_predicted"].notna().any():
        predicted = selections.median(selections.cube(layers, "delta_rms_predicted")[2])
        found["theory"] = logs(predicted[kept_layers, 0])
    found["course"] = {
        name: _course(selections.course(steps, name))
        for name in LOSSES | SCORES
        if name in steps and (name != R2.column or steps[name].notna().any())
    }
    return found


def time_data(rows: pd.DataFrame) -> dict[str, Any]:
    """What is left of the last output's gradient in each step of each recurrent layer: medians over the seeds."""
    steps, names = selections.records(rows), list(dict.fromkeys(map(str, rows["name"])))[:MOST_LINES]
    at = sorted({int(time) for time in rows["time"]})
    at = [at[i] for i in thin(len(at), MOST_TIMES)]
    steps = [steps[i] for i in thin(len(steps), MOST_TIMES)]
    found: dict[str, Any] = {"steps": steps, "at": at, "names": names}
    for field, column in (("m", "carried"), ("theory", "carried_predicted")):
        found[field] = [logs(_medians(rows, name, "time", column, steps, at)) for name in names]
    return found


def attention_data(rows: pd.DataFrame) -> dict[str, Any]:
    """Entropy of each head's weights in thousandths of its maximum, of attentions from the first to the last."""
    names = list(dict.fromkeys(map(str, rows["name"])))
    names = [names[i] for i in thin(len(names), MOST_LINES)]
    steps = selections.records(rows)
    steps = [steps[i] for i in thin(len(steps), MOST_TIMES)]
    heads = sorted({int(head) for head in rows["head"]})[:MOST_HEADS]
    found = [_medians(rows, name, "head", "entropy", steps, heads) for name in names]
    return {"steps": steps, "names": names, "heads": [plain(of.T, 1000) for of in found]}


def _medians(
    rows: pd.DataFrame, name: str, axis: str, column: str, steps: Sequence[int], places: Sequence[int]
) -> Array:
    """[step, place along the axis] of one module: medians over the seeds, NaN where there is none."""
    table = rows[rows["name"] == name].pivot_table(column, index="step", columns=axis, aggfunc="median")
    return table.reindex(index=[*steps], columns=[*places]).to_numpy(dtype=np.float64)


def _course(found: Profile) -> dict[str, Any]:
    kept = thin(len(found.at), 64)
    return {
        "x": [int(found.at[i]) for i in kept],
        "m": short(found.median[kept]),
        "lo": short(found.low[kept]),
        "hi": short(found.high[kept]),
    }


def _short_name(name: str) -> str:
    return name.removeprefix("hidden_") if name.startswith("hidden_") else name


def detailed(summary: pd.DataFrame) -> list[str]:
    """The cells that are sent with their layers: all, or the best and the worst of very many."""
    if len(summary) <= MOST_PLOTTED:
        return [str(cell) for cell in summary["cell"]]
    return selections.best_and_worst(summary, MOST_PLOTTED)


def histogram_data(data: Frames, cells: list[str]) -> dict[str, Any]:
    """{cell: its distributions}, of as many records and layers as there is room for; empty where there is none."""
    frame = selections.optional_table(data, "histograms")
    if frame is None:
        return {}
    parts = {str(cell): rows for cell, rows in frame.groupby("cell", sort=False) if str(cell) in cells}
    each = len(distributions.QUANTITIES) * (BINS + 4)
    fitting = (size for size in HISTOGRAMS if len(parts) * size[0] * size[1] * each <= HISTOGRAM_BUDGET)
    records, layers = next(fitting, (0, 0))
    found = {}
    for cell, rows in parts.items() if records else ():
        steps, numbers = selections.records(rows), sorted({int(layer) for layer in rows["layer"]})
        kept = [numbers[i] for i in selections.shown_layers(len(numbers), layers)]
        found[cell] = distributions.for_page(rows, [steps[i] for i in thin(len(steps), records)], kept)
    return found


def all_cells(data: Frames) -> tuple[dict[str, Any], Detail]:
    """{cell: what the page draws of it}, and how much detail there was room for."""
    kept = detailed(data.summary)
    layers: Mapping[str, pd.DataFrame] = {
        str(cell): rows for cell, rows in data.layers.groupby("cell", sort=False)
    }
    steps: Mapping[str, pd.DataFrame] = {
        str(cell): rows for cell, rows in data.steps.groupby("cell", sort=False)
    }
    kept = [cell for cell in kept if cell in layers and cell in steps]
    detail = choose([(layers[c]["step"].nunique(), layers[c]["layer"].nunique()) for c in kept])
    found = {cell: cell_data(layers[cell], steps[cell], detail) for cell in kept}
    for name, make in (("time", time_data), ("attention", attention_data)):
        table = selections.optional_table(data, name)
        if table is not None and len(kept) <= MOST_BESIDE:
            for cell, rows in table.groupby("cell", sort=False):
                if str(cell) in found:
                    found[str(cell)][name] = make(rows)
    return found, detail
