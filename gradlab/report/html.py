"""report.html: one self-contained page on one or several results, that opens from disk without a network."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from gradlab.analyse.budget import words_of_row
from gradlab.base import atomic
from gradlab.base.places import resolved
from gradlab.report import distributions, page_data, selections
from gradlab.report.badges import badge_styles
from gradlab.report.families import chosen, families
from gradlab.report.glyphs import power_of_ten
from gradlab.report.selections import Tables
from gradlab.report.shapes import known, sample
from gradlab.report.summary_columns import fixed, measures_of, plus_minus
from gradlab.store.results import Results
from gradlab.tables import score

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Number:
    """A field of a table: the text people read and the number it is sorted by."""

    text: str
    value: str

    @classmethod
    def of(cls, value: float, text: str) -> Number:
        """A NaN that is said was measured, and is sorted as infinite; where nothing is said, there is no number."""
        return cls(text, "" if not text else "inf" if np.isnan(value) else repr(float(value)))


def write(results: Sequence[Results], path: Path) -> Path:
    """Write the page of these results to `path`, whole or not at all; links are relative to its folder."""
    atomic.write_text(path, page(results, path.parent))
    return path


def page(results: Sequence[Results], folder: Path) -> str:
    """The page as text. Everything that came from the user is escaped by the template."""
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["breakable"] = _breakable
    data = combine(results)
    good = score.of_table(data.summary)
    cells, detail = page_data.all_cells(data)
    ridges = page_data.histogram_data(data, list(cells))
    shapes = known([str(name) for name in data.summary["activation"]])
    return environment.get_template("report.html.j2").render(
        title=page_title(data, results),
        lead=lead(data),
        statement=statement(data),
        verdicts=verdict_counts(data),
        table=ranking_table(data),
        score=good.title,
        has_depths=data.summary["depth"].nunique() > 1,
        many=len(data.summary) > 1,
        shapes=[activation.text for activation in shapes],
        cells=[
            (cell, name)
            for cell, name in selections.labels(selections.ranking(data.summary)).items()
            if cell in cells
        ],
        results=[setup(result, folder) for result in results],
        warnings=warnings_of(data, results, detail, len(cells), bool(ridges)),
        ridges=bool(ridges),
        quantities={"delta": distributions.QUANTITIES["delta"]} | distributions.QUANTITIES,
        style=f"{_template('style.css')}{badge_styles()}",
        script=_template("report.js"),
        plotly=get_plotlyjs(),
        data=embed(
            {
                **page_data.LOOK,
                "cells": cells,
                "ridges": ridges,
                "rows": _cell_texts(data, _chances(results)),
                "families": _families(data, set(cells)),
                "shapes": [_shape(activation) for activation in shapes],
                "score": good.title,
            }
        ),
    )


def _breakable(text: str) -> str:
    """Escaped text that may be broken between the parameters of a name."""
    return Markup(":<wbr>").join(escape(part) for part in text.split(":"))


@cache
def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def embed(data: Any) -> str:
    """JSON that may stand inside a script element: no text in it can close the element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def combine(results: Sequence[Results]) -> Tables:
    """The tables of all results in one; of several, each row says which in a column of its own."""
    if len(results) == 1:
        return Tables(**selections.tables_of(results[0]))
    names = _distinct([result.out for result in results])

    def mark(frame: pd.DataFrame, nth: int) -> pd.DataFrame:
        marked = frame.assign(cell=[f"{nth}-{cell}" for cell in frame["cell"]])
        marked.insert(1, "result", names[nth])
        return marked

    parts: dict[str, list[pd.DataFrame]] = {}
    for nth, result in enumerate(results):
        for name, frame in selections.tables_of(result).items():
            parts.setdefault(name, []).append(mark(frame, nth))
    return Tables(**{name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()})


def _distinct(paths: Sequence[Path]) -> list[str]:
    """The folders' own names, or their whole paths where two share one."""
    names = [resolved(path).name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def page_title(data: Tables, results: Sequence[Results]) -> str:
    """What the page is about."""
    if len(data.summary) == 1:
        return str(next(iter(selections.labels(data.summary).values())))
    names = list(dict.fromkeys(str(name) for name in data.summary["activation"]))
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"{shown}: {len(data.summary)} cells" + (f" in {len(results)} results" if len(results) > 1 else "")


def lead(data: Tables) -> list[tuple[str, str]]:
    """The verdict of a single cell with its seeds; nothing for several cells."""
    return selections.verdicts(selections.rows_of(data.summary)[0]) if len(data.summary) == 1 else []


def verdict_counts(data: Tables) -> list[tuple[str, int]]:
    """How many cells each verdict holds in, the commonest first."""
    found = [name for row in selections.rows_of(data.summary) for name, _ in selections.verdicts(row)]
    return sorted(((name, found.count(name)) for name in dict.fromkeys(found)), key=lambda item: -item[1])


def statement(data: Tables) -> list[str]:
    """The findings in sentences."""
    ranked = selections.rows_of(selections.ranking(data.summary))
    if not ranked:
        return ["No cell is finished."]
    if len(ranked) == 1:
        row = ranked[0]
        good = score.of_row(row)
        said = [f"{good.title} {_with_interval(row, good.column, 3)} at the last record."]
        attenuation, decay = selections.attenuation(row), float(row["decay_per_layer_mean"])
        if attenuation == -np.inf:
            said.append("No back-propagated error reaches the first layer: it is exactly 0 there.")
        elif np.isfinite(attenuation):
            said.append(
                f"At step 0 the back-propagated error of layer 1 is {power_of_ten(attenuation)} times that of the top "
                f"hidden layer"
                + ("." if np.isnan(decay) else f", a factor of {decay:.3g} a layer")
                + _theory(row)
            )
            if spent := words_of_row(row):
                said.append(f"On its way down {spent}.")
        if isinstance(row["advice"], str) and row["advice"]:
            said.append(f"Advice: {row['advice']}.")
        return said
    names = selections.labels(data.summary)
    best, worst = ranked[0], ranked[-1]
    good, last = score.of_row(best), score.of_row(worst)
    said = [f"Best: {names[best['cell']]}, {good.name} {_with_interval(best, good.column, 3)}."]
    said.append(f"Last: {names[worst['cell']]}, {_with_interval(worst, last.column, 3)}.")
    lowest = min(
        ranked, key=lambda row: np.inf if np.isnan(row["attenuation_mean"]) else row["attenuation_mean"]
    )
    if lowest["attenuation_mean"] == -np.inf:
        said.append(f"No gradient at all in the first layer at step 0: {names[lowest['cell']]}.")
    elif not np.isnan(lowest["attenuation_mean"]):
        said.append(
            f"Weakest gradient in the first layer: {names[lowest['cell']]}, "
            f"attenuation {lowest['attenuation_mean']:.1f} decades at step 0"
            + (f": {spent}." if (spent := words_of_row(lowest)) else ".")
        )
    return said


def _theory(row: dict[str, Any]) -> str:
    predicted = float(row["decay_per_layer_predicted"])
    if np.isnan(row["decay_per_layer_mean"]):
        return ""
    return "." if np.isnan(predicted) else f"; mean-field theory predicts {predicted:.3g}."


def _with_interval(row: dict[str, Any], name: str, digits: int) -> str:
    value, half = float(row[f"{name}_mean"]), float(row[f"{name}_ci95"])
    if np.isnan(value):
        return "unknown"
    return fixed(digits)(value) + plus_minus(half, fixed(digits))


def ranking_table(data: Tables) -> dict[str, Any]:
    """The ranked cells: heads, and rows of cell, name, fields and verdicts. What the seeds say of the ranking stands
    beside the accuracies, the verdicts next to it."""
    ranked = selections.ranking(data.summary)
    differ = [name for name in selections.varying(ranked) if name != "activation"]
    names = selections.labels(data.summary)
    against, measures = selections.against_best(data), measures_of(ranked)
    accuracies = len(differ) + 2
    rows = []
    for place, row in enumerate(selections.rows_of(ranked), start=1):
        own = [row[name] for name in differ]
        fields = [
            Number.of(float(v), "" if np.isnan(v) else selections.show(v))
            if isinstance(v, int | float | np.number)
            else Number(str(v), str(v))
            for v in own
        ]
        fields += [Number.of(float(row[each.column]), each.on_page(row)) for each in measures]
        stands = against.get(str(row["cell"]), "")
        fields.insert(accuracies, Number(stands, stands))
        rows.append(
            {
                "place": place,
                "cell": row["cell"],
                "label": names[str(row["cell"])],
                "activation": row["activation"],
                "fields": fields,
                "verdicts": selections.verdicts(row),
            }
        )
    heads = [(name, selections.is_number(ranked, name)) for name in differ]
    heads += [(each.page, True) for each in measures]
    heads.insert(accuracies, ("vs best", False))
    return {"heads": heads, "rows": rows, "verdict_at": accuracies + 1}


def _chances(results: Sequence[Results]) -> dict[str, float]:
    """The accuracy of always guessing the commonest class, by cell, where the manifest has it."""
    return {
        f"{nth}-{cell}" if len(results) > 1 else cell: value
        for nth, result in enumerate(results)
        for cell, value in result.chance.items()
    }


def _cell_texts(data: Tables, chances: dict[str, float]) -> dict[str, Any]:
    """For each cell its name, its verdicts, the advice and the accuracy of guessing."""
    names = selections.labels(data.summary)
    return {
        str(row["cell"]): {
            "label": names[str(row["cell"])],
            "verdicts": selections.verdicts(row),
            "advice": row["advice"] if isinstance(row["advice"], str) else "",
            "chance": chances.get(str(row["cell"])),
        }
        for row in selections.rows_of(data.summary)
    }


def _families(data: Tables, detailed: set[str]) -> dict[str, Any]:
    """The lines of the comparison's plots: cells that differ in depth only."""
    groups, left_out = chosen(families(data.summary))
    lines, good = [], score.of_table(data.summary)
    for name, group in groups.items():
        columns = {
            short: page_data.short(group[column].to_numpy(dtype=float))
            for short, column in (
                ("accuracy", good.mean),
                ("accuracy_ci", good.half_width),
                ("attenuation", "attenuation_mean"),
                ("attenuation_ci", "attenuation_ci95"),
            )
        }
        cells = [str(cell) if str(cell) in detailed else None for cell in group["cell"]]
        lines.append({"name": name, "depth": [int(d) for d in group["depth"]], "cells": cells, **columns})
    return {"lines": lines, "left_out": left_out}


def _shape(activation: Any) -> dict[str, Any]:
    z, phi, slope = sample(activation, points=161)
    return {
        "name": activation.text,
        **{
            key: [round(float(v), 4) for v in values]
            for key, values in (("z", z), ("phi", phi), ("slope", slope))
        },
    }


def setup(result: Results, folder: Path) -> dict[str, Any]:
    """Configuration, provenance and files of one result, as the page lists them."""
    manifest = result.manifest
    versions = ", ".join(f"{name} {v}" for name, v in manifest.get("versions", {}).items())
    timings = manifest.get("timings", {})
    provenance = [
        ("folder", str(result.out)),
        ("command", _command([str(part) for part in manifest.get("argv", [])])),
        ("written", str(manifest.get("written", ""))),
        ("versions", versions),
        ("platform", str(manifest.get("platform", ""))),
        ("device", ", ".join(map(str, manifest.get("device", [])))),
        ("matrix products", str(manifest.get("products", ""))),
        ("time", f"{timings['seconds']:.1f} s" if "seconds" in timings else ""),
        ("plan", str(manifest.get("plan", ""))),
    ]
    hashes = manifest.get("sha256", {})
    files = [
        {"name": path.name, "href": _link(path, folder), "sha256": hashes.get(path.name, "")}
        for path in result.files
        if path.suffix in (".csv", ".parquet", ".toml", ".json")
    ]
    return {
        "name": resolved(result.out).name,
        "config": result.config,
        "provenance": [(key, value) for key, value in provenance if value],
        "files": files,
    }


def _command(argv: list[str]) -> str:
    """The command line as one would type it: the program's own name, not where it is installed."""
    return shlex.join([Path(argv[0]).name, *argv[1:]]) if argv else ""


def _link(path: Path, folder: Path) -> str:
    """A relative URL from the page's folder to a file."""
    return quote(Path(os.path.relpath(resolved(path), resolved(folder))).as_posix())


def warnings_of(
    data: Tables,
    results: Sequence[Results],
    detail: page_data.Detail,
    detailed: int,
    ridges: bool,
) -> list[str]:
    """What a reader must know before believing the numbers."""
    said = []
    for result in results:
        name = f"{resolved(result.out).name}: " if len(results) > 1 else ""
        said += [f"{name}{text}." for text in result.unknown]
        said += [f"{name}failed: {failure}" for failure in result.failed]
    if len(data.summary) and int(data.summary["seeds"].min()) < 2:
        said.append("One seed: there are no intervals, and another seed may tell another story.")
    bad = data.layers.loc[data.layers["nonfinite"] > 0, "cell"].nunique() if len(data.layers) else 0
    if bad:
        said.append(f"Entries that are not finite were recorded in {bad} of {len(data.summary)} cells.")
    if detail != page_data.LADDER[0]:
        bands = "" if detail.bands else "without the bands of the seeds and "
        said.append(
            f"To keep the page small its plots are drawn {bands}from at most {detail.records} records and "
            f"{detail.layers} layers a cell; the tables hold all."
        )
    if selections.optional_table(data, "histograms") is not None and not ridges:
        said.append(
            "Histograms of so many cells would make the page large: they are in histograms.csv alone."
        )
    if detailed < len(data.summary):
        said.append(f"Plots are here for {detailed} of {len(data.summary)} cells, the best and the worst.")
    return said
