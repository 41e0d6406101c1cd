"""report.html: one self-contained page on one or several results, that opens from disk without a network."""

from __future__ import annotations

import gzip
import json
import os
import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from gradlab import activations
from gradlab.analyse.origin import is_users, is_watched
from gradlab.base import atomic
from gradlab.base.errors import GradlabError
from gradlab.base.places import resolved
from gradlab.parts import inits
from gradlab.report import (
    distributions,
    explained,
    first_screen,
    first_screen_of_cell,
    first_screen_of_cells,
    page_data,
    palette,
    pictures,
    selections,
    svg,
    try_command,
)
from gradlab.report.badges import badge_styles
from gradlab.report.families import chosen, families, looks_of
from gradlab.report.resources import TEMPLATES, template
from gradlab.report.selections import Tables
from gradlab.report.summary_columns import Measure, fixed, measures_of, with_interval
from gradlab.store.results import Results
from gradlab.tables import score


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
    environment = page_environment()
    data = combine(results)
    good = score.of_table(data.summary)
    cells, detail = page_data.all_cells(data)
    ridges = page_data.histogram_data(data, list(cells))
    chances, configs = _chances(results), [result.config for result in results]
    many = len(data.summary) != 1
    first = _first_screen(data, configs, chances)
    panels = first_screen_of_cells.shape_panels(data) if len(data.summary) else []
    text: str = environment.get_template("report.html.j2").render(
        title=page_title(data, results),
        screen=first,
        lead=lead(data),
        verdicts=verdict_counts(data),
        table=ranking_table(data, chances),
        score=good.title,
        short_score=good.short,
        has_depths=data.summary["depth"].nunique() > 1,
        many=many,
        made_by=_made_by(data, many),
        tall=" tall" if data.summary["activation"].nunique() > 5 else "",
        panels=panels,
        budget=_budget(data) if not many else (),
        worst=_worst(data, list(cells)),
        cells=[
            (cell, name)
            for cell, name in selections.labels(selections.ranking(data.summary)).items()
            if cell in cells
        ],
        results=[setup(result, folder) for result in results],
        warnings=warnings_of(data, results, detail, len(cells), bool(ridges)),
        ridges=bool(ridges),
        quantities={"delta": distributions.QUANTITIES["delta"]} | distributions.QUANTITIES,
        style=page_style(),
        script=template("report.js"),
        plotly=packed_plotly(),
        explorer=embed(template("explorer.html")),
        data=embed(
            {
                **page_data.LOOK,
                "cells": cells,
                "ridges": ridges,
                "rows": _cell_texts(data, chances, configs),
                "families": _families(data, set(cells)),
                "score": good.title,
                "low": good.low,
            }
        ),
    )
    return text


def page_environment() -> Any:
    """The templates, in which every text is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "breakable": _breakable,
        "sup": first_screen.superscripts,
        "colour": svg.colour,
        "mark": lambda look: svg.mark_path(look, 7.0, 7.0, 5.0),
        "flags": _flags,
        "lower_first": lambda text: text[:1].lower() + text[1:],
    }
    return environment


def page_style() -> str:
    """The style sheet that all pages share."""
    return f"{template('style.css')}{badge_styles()}"


@cache
def packed_plotly() -> str:
    """Plotly's library, gzip in base64: a third of its size. The page's script unpacks it (`DecompressionStream`)."""
    from plotly.offline import get_plotlyjs

    return b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def _first_screen(
    data: Tables, configs: Sequence[str], chances: dict[str, float]
) -> first_screen.FirstScreen:
    if len(data.summary) != 1:
        return first_screen_of_cells.of_cells(data, configs, chances)
    (cell,) = data.summary["cell"]
    return first_screen_of_cell.of_cell(data, configs[0], chances.get(str(cell)))


def _made_by(data: Tables, many: bool) -> str:
    """The command, or the recorder, that measured what the page shows."""
    if many:
        return "compare"
    row = selections.rows_of(data.summary)[0]
    return "watch" if is_watched(row) else "recorder" if is_users(row) else "run"


def _budget(data: Tables) -> list[svg.Drawing]:
    found = explained.budget_of(data)
    if found is None:
        return []
    return [pictures.budget(found, selections.look_of(data), wide) for wide in (True, False)]


def _worst(data: Tables, cells: Sequence[str]) -> str:
    """The cell that details open on: the weakest gradient, of none the last in the ranking."""
    ranked = [
        row for row in selections.rows_of(selections.ranking(data.summary)) if str(row["cell"]) in cells
    ]
    if not ranked:
        return ""
    known = [row for row in ranked if not np.isnan(selections.attenuation(row))]
    return str(min(known, key=selections.attenuation)["cell"] if known else ranked[-1]["cell"])


def _flags(command: str) -> str:
    """An escaped command whose lines may be broken between its flags alone."""
    head, *flags = command.split(" --")
    return Markup(" ").join(
        Markup("<span>{}</span>").format(part) for part in [head, *(f"--{f}" for f in flags)]
    )


def _breakable(text: str) -> str:
    """Escaped text that may be broken between the parameters of a name."""
    return Markup(":<wbr>").join(escape(part) for part in str(text).split(":"))


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


def ranking_table(data: Tables, chances: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The ranked cells: heads, and rows of cell, name, fields and verdicts. What the seeds say of the ranking stands
    beside the accuracies, the verdicts next to it."""
    ranked = selections.ranking(data.summary)
    differ = [name for name in selections.varying(ranked) if name != "activation"]
    names = selections.labels(data.summary)
    places = palette.looks({str(name): str(name) for name in data.summary["activation"]})
    against = selections.against_best(data)
    measures = [measure for measure in measures_of(ranked) if measure.column not in HALF_WIDTHS]
    good = score.of_table(ranked)
    accuracies = len(differ) + 1
    seeds_of = {str(cell): rows for cell, rows in data.steps.groupby("cell", sort=False)}
    rows = []
    for place, row in enumerate(selections.rows_of(ranked), start=1):
        own = [row[name] for name in differ]
        fields = [
            Number.of(float(v), "" if np.isnan(v) else selections.show(v))
            if isinstance(v, int | float | np.number)
            else Number(str(v), str(v))
            for v in own
        ]
        fields += [
            Number.of(float(row[each.column]), _measured(each, row, score.of_row(row))) for each in measures
        ]
        stands = against.get(str(row["cell"]), "")
        if stands == selections.TIED:
            stands = f"not distinguishable with {int(row['seeds'])} seeds"
        fields.insert(accuracies, Number(stands, stands))
        values = explained.last_scores(seeds_of.get(str(row["cell"]), data.steps[:0]), good.column)
        rows.append(
            {
                "place": place,
                "cell": row["cell"],
                "label": names[str(row["cell"])],
                "activation": row["activation"],
                "look": places[str(row["activation"])],
                "strip": _strip(row, good, values, places[str(row["activation"])], chances or {}),
                "fields": fields,
                "verdicts": selections.verdicts(row),
            }
        )
    heads = [(name, selections.is_number(ranked, name)) for name in differ]
    heads += [(each.page, True) for each in measures]
    heads.insert(accuracies, ("vs best", False))
    return {"heads": heads, "rows": rows, "verdict_at": accuracies + 1, "strip_at": len(differ)}


HALF_WIDTHS = {good.half_width for good in (score.ACCURACY, score.R2)}


def _measured(measure: Measure, row: Mapping[str, Any], good: score.Score) -> str:
    """A score with its interval, anything else as it is."""
    return with_interval(row, good, fixed(3)) if measure.column == good.mean else measure.on_page(row)


def _strip(
    row: Mapping[str, Any],
    good: score.Score,
    values: Sequence[float],
    look: int,
    chances: Mapping[str, float],
) -> svg.Drawing | str:
    mean = float(row[good.mean])
    if np.isnan(mean):
        return ""
    chance = chances.get(str(row["cell"])) if good is score.ACCURACY else None
    ends = good.interval(mean, float(row[good.half_width]))
    return pictures.strip(values, mean, ends, look, chance, (0.0, good.high))


def _chances(results: Sequence[Results]) -> dict[str, float]:
    """The accuracy of always guessing the commonest class, by cell, where the manifest has it."""
    return {
        f"{nth}-{cell}" if len(results) > 1 else cell: value
        for nth, result in enumerate(results)
        for cell, value in result.chance.items()
    }


def _cell_texts(data: Tables, chances: dict[str, float], configs: Sequence[str]) -> dict[str, Any]:
    """For each cell its name, its verdicts, [command, reason] of the advice, and the accuracy of guessing."""
    names = selections.labels(data.summary)
    places = palette.looks({str(name): str(name) for name in data.summary["activation"]})
    return {
        str(row["cell"]): {
            "label": names[str(row["cell"])],
            "verdicts": selections.verdicts(row),
            "try": _advice(row, configs),
            "chance": chances.get(str(row["cell"])),
            "look": places[str(row["activation"])],
            "net": _net(row),
        }
        for row in selections.rows_of(data.summary)
    }


def _advice(row: Mapping[str, Any], configs: Sequence[str]) -> list[str] | None:
    """[command, reason]; of several results, the number before a cell's hash says whose configuration it has."""
    if not isinstance(row["advice"], str) or not row["advice"]:
        return None
    nth = int(str(row["cell"]).partition("-")[0]) if len(configs) > 1 else 0
    return [*try_command.advised(row, configs[nth])]


def _net(row: Mapping[str, Any]) -> list[Any] | None:
    """[activation, depth, sigma_w, sigma_b] of a cell that the explorer can show."""
    activation = activations.registered(str(row["activation"]))
    if (
        activation is None
        or not activation.elementwise
        or activation.text != activation.name
        or is_users(row)
    ):
        return None
    try:
        init = inits.get(str(row["init"]), activation)
    except GradlabError:
        return None
    if init.sigma_w is None:
        return None
    width = int(row["width"])
    return [activation.text, int(row["depth"]), init.sigma_w(width, width), init.sigma_b(width, width)]


def _families(data: Tables, detailed: set[str]) -> dict[str, Any]:
    """The lines of the comparison's plots: cells that differ in depth only."""
    every = families(data.summary)
    groups, left_out = chosen(every)
    places = looks_of(every)
    lines, good = [], score.of_table(data.summary)
    for name, group in groups.items():
        columns = {
            short: page_data.short(group[column].to_numpy(dtype=float))
            for short, column in (
                ("accuracy", good.mean),
                ("attenuation", "attenuation_mean"),
                ("attenuation_ci", "attenuation_ci95"),
            )
        }
        cells = [str(cell) if str(cell) in detailed else None for cell in group["cell"]]
        halves = zip(group[good.mean], group[good.half_width], strict=True)
        ends = np.array([good.interval(float(mean), float(half)) for mean, half in halves])
        columns |= {
            "accuracy_low": page_data.short(ends[:, 0]),
            "accuracy_high": page_data.short(ends[:, 1]),
        }
        depths = [int(d) for d in group["depth"]]
        lines.append({"name": name, "look": places[name], "depth": depths, "cells": cells, **columns})
    return {"lines": lines, "left_out": left_out}


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
