"""What every renderer reads from the three tables: cells and their names, records, profiles over layers.

Seeds are summed up by their median, and their spread is the whole range from lowest to highest. A NaN that was
measured counts as infinite; one that stands for a value that does not apply stays NaN.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradlab import sensors
from gradlab.analyse.paths import readings
from gradlab.base.text import one_line
from gradlab.report import palette
from gradlab.report.quantities import GRADIENTS, LOSSES
from gradlab.tables import score
from gradlab.tables.cell import CELL
from gradlab.tables.spec import names

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
TIED = "tied"
"""The word of `against_best` for a cell that these seeds do not tell from the best"""


class Frames(Protocol):
    """The tables, as an outcome, a saved result or a test has them. A table that was asked for beside these three is an
    attribute by its name."""

    @property
    def layers(self) -> pd.DataFrame: ...
    @property
    def steps(self) -> pd.DataFrame: ...
    @property
    def summary(self) -> pd.DataFrame: ...


class Tables(SimpleNamespace):
    """Tables that were cut or joined, each an attribute by its name; one that was not asked for is missing."""

    layers: pd.DataFrame
    steps: pd.DataFrame
    summary: pd.DataFrame


@dataclass(frozen=True)
class Profile:
    """One quantity over layers or steps: `at` is the layer numbers or steps; the others are over seeds."""

    at: Array
    median: Array
    low: Array
    high: Array


def cell_columns(frame: pd.DataFrame) -> list[str]:
    """The cell columns of a table: all that stand before `seed` or `seeds`, any other grid keys included."""
    columns = [str(name) for name in frame.columns]
    ends = [columns.index(name) for name in ("seed", "seeds") if name in columns]
    return columns[: min(ends)] if ends else [c for c in columns if c in names(CELL)]


def of_cell(frames: Frames, cell: str) -> Tables:
    """The rows of one cell."""
    return Tables(**{name: frame[frame["cell"] == cell] for name, frame in tables_of(frames).items()})


def tables_of(frames: Frames) -> dict[str, pd.DataFrame]:
    """Every table there is, by name."""
    every = {name: getattr(frames, name, None) for name in ("layers", "steps", "summary", *sensors.beside())}
    return {name: frame for name, frame in every.items() if frame is not None}


def as_labels(frames: Frames) -> Tables:
    """The tables with their texts as figures write them, letter by letter: matplotlib reads what stands between two
    dollar signs as a formula, and hidden characters break lines."""
    return Tables(**{name: _with_labels(frame) for name, frame in tables_of(frames).items()})


def _with_labels(frame: pd.DataFrame) -> pd.DataFrame:
    changed = {}
    for name in frame.columns:
        if not is_number(frame, name):
            texts = {text: _label(text) for text in frame[name].unique() if isinstance(text, str)}
            if any(label != text for text, label in texts.items()):
                changed[name] = frame[name].map(lambda value, texts=texts: texts.get(value, value))
    return frame.assign(**changed).rename(columns=_label)


def _label(text: str) -> str:
    return one_line(text).replace("$", r"\$")


def optional_table(frames: Frames, name: str) -> pd.DataFrame | None:
    """A table that has to be asked for; None where it was not, or holds no row."""
    found: pd.DataFrame | None = getattr(frames, name, None)
    return found if found is not None and len(found) else None


def varying(summary: pd.DataFrame) -> list[str]:
    """The cell columns (but the hash) in which the cells differ."""
    return [
        name for name in cell_columns(summary) if name != "cell" and summary[name].nunique(dropna=False) > 1
    ]


def is_number(frame: pd.DataFrame, name: str) -> bool:
    """Whether a column holds numbers, which stand at the right of a table's field."""
    return frame[name].dtype.kind in "iuf"


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries by column name."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def show(value: object) -> str:
    """A value of a cell column as text: whole numbers without a point."""
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def name_cell(row: Mapping[str, object], columns: Iterable[str]) -> str:
    """`sigmoid, depth 20, init he`: the activation, then each of the other columns with its name."""
    parts = [str(row["activation"])] if "activation" in row else []
    parts += [f"{name} {show(row[name])}" for name in columns if name != "activation" and name in row]
    return ", ".join(parts)


def fold(name: str, width: int) -> str:
    """A name on lines of at most `width` characters, broken at blanks, else between the parameters of an item."""
    lines: list[str] = []
    for part in textwrap.wrap(name, width, break_long_words=False, break_on_hyphens=False):
        pieces = re.findall(r"[^:]*:|[^:]+", part) if len(part) > width else [part]
        for piece in pieces:
            if lines and piece is not pieces[0] and len(lines[-1]) + len(piece) <= width:
                lines[-1] += piece
            else:
                lines += [piece[i : i + width] for i in range(0, len(piece), width)]
    return "\n".join(lines)


def labels(summary: pd.DataFrame) -> dict[str, str]:
    """The shortest name that tells each cell from the others, by cell hash, in the order of the table."""
    columns = varying(summary)
    if "depth" in summary and "depth" not in columns:
        columns = ["depth", *columns]
    return {str(row["cell"]): name_cell(row, columns) for row in rows_of(summary)}


def title_of(data: Frames) -> str:
    """A single cell by name: `sigmoid, depth 20, init auto, digits (3 seeds)`."""
    row = rows_of(data.summary)[0]
    named = [
        name
        for name in ("depth", "init", "norm", "residual")
        if str(row.get(name, "none")) not in ("none", "own")
    ]
    seeds = int(row["seeds"])
    return f"{name_cell(row, named)}, {row['dataset']} ({seeds} seed{'' if seeds == 1 else 's'})"


def look_of(data: Frames) -> int:
    """The place of a single cell's colour and marks."""
    name = str(data.summary["activation"].iloc[0])
    return palette.looks({name: name})[name]


def lines(layers: pd.DataFrame) -> list[list[int]]:
    """The layers of one cell as they are drawn: those of the line, which is the stream of a user's model with branches,
    then those of each branch and head beside it. One line of all of them where no path is known."""
    first = layers.drop_duplicates("layer").sort_values("layer")
    numbers = [int(layer) for layer in first["layer"]]
    if not {"path", "into", "joins"} <= set(layers.columns):
        return [numbers]
    path, into, joins = ([str(word) for word in first[name].fillna("")] for name in ("path", "into", "joins"))
    there = (
        layers[layers["step"] == layers["step"].min()].groupby("layer")["delta_rms"].count().reindex(numbers)
    )
    own = next(iter(readings(path, into, joins, (there > 0).to_numpy(bool)).values()))
    beside: dict[str, list[int]] = {}
    for number, name, on_line in zip(numbers, path, own, strict=True):
        if name and not on_line:
            beside.setdefault(name, []).append(number)
    return [[number for number, on_line in zip(numbers, own, strict=True) if on_line], *beside.values()]


def on_line(layers: pd.DataFrame) -> pd.DataFrame:
    """The rows of one cell's line."""
    return layers[layers["layer"].isin(lines(layers)[0])]


def has_readout(data: Frames) -> bool:
    """Whether the last layer is the readout: it is named `output`, or stands above the depth, as in a user's model."""
    layers = data.layers
    if (layers["name"] == "output").any():
        return True
    return "depth" in layers and bool((layers["layer"] > layers["depth"].astype(float)).any())


def verdicts(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each verdict of a cell with the seeds it holds in: `[("vanishing", "3/3")]`; empty without one."""
    names, seeds = (row.get(name) for name in ("verdict", "verdict_seeds"))
    if not isinstance(names, str) or not names:
        return []
    counts = seeds.split(",") if isinstance(seeds, str) else []
    padded = [*counts, *([""] * names.count(",")), ""]
    return [(name.strip(), count.strip()) for name, count in zip(names.split(","), padded, strict=False)]


def attenuation(row: Mapping[str, Any]) -> float:
    """Decades from the top hidden layer to the first; NaN where these are one, so that nothing is compared."""
    return float(row["attenuation_mean"]) if row["depth"] > 1 else np.nan


def ranking(summary: pd.DataFrame) -> pd.DataFrame:
    """The cells, best mean validation accuracy (or R^2) first; ties by training loss, then by order. NaN is last."""
    keys = summary[["train_loss_mean"]].assign(score=score.means(summary)).reset_index(drop=True)
    order = keys.sort_values(
        ["score", "train_loss_mean"], ascending=[False, True], kind="stable", na_position="last"
    )
    return summary.iloc[order.index]


def best_and_worst(summary: pd.DataFrame, most: int) -> list[str]:
    """The cells as ranked, best first; of more than `most`, as many of the best as of the worst."""
    ranked = [str(cell) for cell in ranking(summary)["cell"]]
    return [ranked[place] for place in ends(len(ranked), most, most // 2)]


def ends(count: int, most: int, first: int | None = None) -> list[int]:
    """At most `most` of `count` places of a ranking: the `first` ones (two thirds unless said) and the last ones. Its
    middle says least."""
    if count <= most:
        return list(range(count))
    first = most * 2 // 3 if first is None else first
    return [*range(first), *range(count - (most - first), count)]


def thin(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, both ends among them, evenly."""
    if count <= most:
        return list(range(count))
    return sorted({round(x) for x in np.linspace(0, count - 1, most)})


def shown_layers(count: int, most: int) -> list[int]:
    """Which of `count` rows (0-based, ascending, the last one the readout) to show in about `most`.

    The first layer, every k-th for the smallest round k that fits, the top hidden layer, and the readout.
    """
    if count <= most:
        return list(range(count))
    strides = (k * 10**power for power in range(9) for k in (2, 5, 10))
    stride = next(k for k in strides if (count - 1) // k + 3 <= max(most, 4))
    return sorted({0, *range(stride - 1, count - 1, stride), count - 2, count - 1})


def against_best(data: Frames) -> dict[str, str]:
    """`best`, TIED (the seeds do not tell it from the best) or `behind`, by cell; nothing for a single cell."""
    from gradlab.analyse.ranking import rank

    if len(data.summary) < 2 or not len(data.steps):
        return {}
    # `rank` leaves equal cells in the order they come in
    places = {cell: place for place, cell in enumerate(ranking(data.summary)["cell"])}
    order = data.steps["cell"].map(places).argsort(kind="stable")
    found = rank(data.steps.iloc[order], score.of_table(data.steps).column, cell_columns=["cell"])
    words = np.where(found["rank"] == 1, "best", np.where(found["within_noise"], TIED, "behind"))
    return {str(cell): str(word) for cell, word in zip(found["cell"], words, strict=True)}


def records(layers: pd.DataFrame) -> list[int]:
    """The recorded steps, ascending."""
    return sorted(int(step) for step in layers["step"].unique())


def first_middle_last(steps: list[int]) -> list[int]:
    """The first record, the one nearest to half of the last step, and the last; none twice."""
    if not steps:
        return []
    middle = min(steps, key=lambda step: abs(step - steps[-1] / 2))
    return sorted({steps[0], middle, steps[-1]})


def counted(rows: pd.DataFrame, column: str) -> pd.Series[float]:
    """A column as floats, in which a NaN that was measured has become infinite; one that does not apply stays NaN.

    A gradient's NaN is measured where the row counts entries that are not finite, a loss's wherever any loss is there.
    """
    values = rows[column].astype(float)
    if column in (*GRADIENTS, "bias_grad_norm") and "nonfinite" in rows:
        return values.mask(values.isna() & (rows["nonfinite"].fillna(0) > 0), np.inf)
    if column in LOSSES and values.notna().any():
        return values.fillna(np.inf)
    return values


def part_of(profile: Profile, layers: Sequence[int]) -> Profile:
    """Some layers of a profile."""
    some = np.isin(profile.at, layers)
    return Profile(profile.at[some], profile.median[some], profile.low[some], profile.high[some])


def profile(layers: pd.DataFrame, step: int, column: str) -> Profile:
    """One quantity at one record of one cell, over layers."""
    return _over_seeds(layers[layers["step"] == step], "layer", column)


def course(steps: pd.DataFrame, column: str) -> Profile:
    """One quantity of steps.csv of one cell, over steps."""
    return _over_seeds(steps, "step", column)


def _over_seeds(rows: pd.DataFrame, axis: str, column: str) -> Profile:
    grouped = counted(rows, column).groupby(rows[axis])
    median, low, high = grouped.median(), grouped.min(), grouped.max()
    return Profile(*(np.asarray(values, dtype=np.float64) for values in (median.index, median, low, high)))


def cube(layers: pd.DataFrame, column: str) -> tuple[Array, Array, Array]:
    """(steps, layer numbers, values [seed, layer, step]) of one cell; NaN where a row is missing."""
    axes = [np.unique(layers[name].to_numpy(), return_inverse=True) for name in ("seed", "layer", "step")]
    values = np.full([len(found) for found, _ in axes], np.nan)
    values[tuple(place for _, place in axes)] = counted(layers, column)
    return axes[2][0].astype(np.float64), axes[1][0].astype(np.float64), values


def grid(layers: pd.DataFrame, column: str) -> tuple[Array, Array, Array]:
    """(steps, layer numbers, values [layer, step]): medians over the seeds of one cell."""
    steps, numbers, values = cube(layers, column)
    return steps, numbers, median(values)


def median(values: Array) -> Array:
    """The median over the first axis, NaN left out; NaN where nothing is left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN: the value does not apply
        return np.asarray(np.nanmedian(values, axis=0), dtype=np.float64)


def log10(values: Array) -> Array:
    """log10 without warnings: 0 becomes -inf, a negative value NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log10(values), dtype=np.float64)


def map_limits(values: Array) -> tuple[float, float]:
    """Limits of a colour map in log10: those of the positive finite values, at least a decade apart."""
    logs = log10(np.ravel(values))
    logs = logs[np.isfinite(logs)]
    if not logs.size:
        return -1.0, 0.0
    low, high = float(logs.min()), float(logs.max())
    lack = max(1.0 - (high - low), 0.0) / 2
    return low - lack, high + lack


def decades(*values: Array) -> tuple[int, int]:
    """The whole decades (low, high) that hold every positive finite value; (-1, 0) when there is none."""
    logs = log10(np.concatenate([np.ravel(v) for v in values])) if values else np.empty(0)
    logs = logs[np.isfinite(logs)]
    if not logs.size:
        return -1, 0
    low, high = int(np.floor(logs.min())), int(np.ceil(logs.max()))
    return (low, high) if high > low else (low, low + 1)
