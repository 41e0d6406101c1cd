"""The first screen of several cells: who survives, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isnan
from typing import Any

import numpy as np
import pandas as pd

from gradlab import activations
from gradlab.analyse.headline import SURVIVE, decades_of, fate, headline, times
from gradlab.analyse.origin import is_users
from gradlab.report import explained, palette, pictures, selections, try_command
from gradlab.report.families import families, looks_of
from gradlab.report.first_screen import (
    Fact,
    FirstScreen,
    counts_of,
    diagnoses_of,
    evidence_of,
    scientific,
    way_of,
)
from gradlab.report.selections import Tables
from gradlab.report.shapes import known, sample
from gradlab.report.summary_columns import fixed, with_interval
from gradlab.report.svg import plain_power
from gradlab.tables import score

MOST_DIAGNOSED = 60
MOST_NETS, MOST_DEPTHS = 12, 3
MOST_PANELS = 12


def of_cells(data: Tables, configs: Sequence[str], chances: dict[str, float]) -> FirstScreen:
    ranked = selections.ranking(data.summary)
    rows = selections.rows_of(ranked)
    against = selections.against_best(data)
    deepest = max(row["depth"] for row in rows)
    best = next(row for row in rows if row["depth"] == deepest)
    command = try_command.command(best, configs[0]) if len(configs) == 1 and not is_users(best) else ""
    found = diagnoses_of(data, chances) if len(rows) <= MOST_DIAGNOSED else []
    facts = [Fact("Compared", compared(data)), Fact("How sure", how_sure_of_cells(rows, against))]
    why = why_of_cells(rows)
    if why:
        facts.append(Fact("Why", why))
    watch = _watch(rows)
    if watch:
        facts.append(Fact("Watch", watch))
    names = selections.labels(ranked)
    return FirstScreen(
        headline=headline(data.summary),
        numbers=(),
        facts=facts,
        command=command,
        reason=f"the best at depth {deepest}: {names[str(best['cell'])]}, {_scored(best)}",
        lead=_lead(rows),
        matrix=matrix(data),
        evidence=evidence_of(found, names),
    )


def _scored(row: dict[str, Any]) -> str:
    good = score.of_row(row)
    return f"{good.name} {with_interval(row, good, fixed(3))}"


def _lead(rows: Sequence[dict[str, Any]]) -> str:
    """The weakest and the strongest gradient, in numbers."""
    deepest = max(row["depth"] for row in rows)
    deep = [row for row in rows if row["depth"] == deepest and isfinite(decades_of(row))]
    if not deep:
        return ""
    several = len({row["depth"] for row in rows}) > 1
    weak, strong = (pick(deep, key=decades_of) for pick in (min, max))
    names = selections.labels(_frame(deep))

    def said(row: dict[str, Any]) -> str:
        name = names[str(row["cell"])].removesuffix(f", depth {deepest}").replace(f", depth {deepest},", ",")
        decades = decades_of(row)
        if abs(decades) < 0.1:
            return f"{name}’s gets about as much"
        return f"{name}’s first layer gets {times(decades)} times {'less' if decades < 0 else 'more'} than its last"

    head = f"At depth {deepest} " if several else ""
    text = said(weak) if weak is strong else f"{said(weak)}; {said(strong)}"
    return head + (text if head else text[0].upper() + text[1:]) + "."


def _frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows)


def compared(data: Tables) -> str:
    """How many of what, and what they have in common."""
    summary = data.summary
    differ = selections.varying(summary)
    counts = [_counted(name, summary[name].unique()) for name in differ]
    same = selections.rows_of(summary)[0]
    steps = int(data.steps["step"].max()) if len(data.steps) else 0
    parts = []
    if not is_users(same):
        parts += [f"width {same['width']}"] if "width" not in differ else []
        parts += [f"init {same['init']}"] if "init" not in differ else []
        parts += [
            f"{same[n]} {n}" for n in ("norm", "residual") if n not in differ and str(same[n]) != "none"
        ]
        parts += (
            [f"{same['optimizer']} at rate {float(same['lr']):g}"]
            if not {"lr", "optimizer"} & set(differ)
            else []
        )
    parts += [str(same["dataset"])] if "dataset" not in differ else []
    seeds = int(summary["seeds"].max())
    parts += [f"{steps} steps", f"{seeds} seed{'' if seeds == 1 else 's'} each"]
    return f"{' × '.join(counts) or f'{len(summary)} cells'}; {', '.join(parts)}"


def _counted(name: str, values: Any) -> str:
    if name in ("depth", "width"):
        return (
            f"{name} {', '.join(str(v) for v in sorted(values))}"
            if len(values) <= 6
            else f"{len(values)} {name}s"
        )
    plural = "data sets" if name == "dataset" else f"{name}es" if name.endswith("s") else f"{name}s"
    return f"{len(values)} {plural}"


def how_sure_of_cells(rows: Sequence[dict[str, Any]], against: dict[str, str]) -> str:
    seeds = int(max(row["seeds"] for row in rows))
    if seeds < 2:
        return "One seed each: no difference here is known to be more than luck."
    unanimous = sum(
        {text for _, text in selections.verdicts(row)} == {f"{int(row['seeds'])}/{int(row['seeds'])}"}
        for row in rows
    )
    judged = sum(bool(selections.verdicts(row)) for row in rows)
    all_agree = (
        f"All {seeds} seeds agree on every verdict"
        if unanimous == judged
        else (f"All seeds agree on the verdict in {unanimous} of {judged} cells")
    )
    tied = sum(word == selections.TIED for word in against.values())
    if not tied:
        return all_agree + "; every other cell is behind the best beyond the noise of the seeds."
    return f"{all_agree}; {tied} of the {len(rows) - 1} other cells cannot be told from the best with {seeds} seeds."


def why_of_cells(rows: Sequence[dict[str, Any]]) -> str:
    """By the largest slopes of the activations, where those that vanish and those that survive differ in them."""
    lost: dict[str, float] = {}
    kept: dict[str, float] = {}
    deepest = max(row["depth"] for row in rows)
    for row in rows:
        activation = activations.registered(str(row["activation"]))
        if activation is None or activation.slope_sup is None or row["depth"] != deepest:
            continue
        (kept if fate(row) == SURVIVE else lost)[activation.text] = activation.slope_sup
    lost = {name: sup for name, sup in lost.items() if name not in kept and sup < 0.999}
    if lost and kept and max(lost.values()) < min(kept.values()):
        slopes = " and ".join(f"{name}’s slope is at most {sup:.3g}" for name, sup in list(lost.items())[:2])
        if len(lost) > 2:
            slopes += f" (as of {len(lost) - 2} more)"
        others = ", ".join(f"{name}’s" for name in list(kept)[:2]) + (
            " and the others’" if len(kept) > 2 else ""
        )
        reach = "reach" if len(kept) > 1 else "reaches"
        return f"Each layer multiplies the gradient by the slope: {slopes}; {others} {reach} 1 or more."
    worst = min(rows, key=lambda row: decades_of(row) if isfinite(decades_of(row)) else 0.0)
    predicted, factor = float(worst["decay_per_layer_predicted"]), float(worst["decay_per_layer_mean"])
    if isnan(factor):
        return ""
    theory = "" if isnan(predicted) else f"; theory: {predicted:.3g}"
    name = selections.name_cell(worst, ["depth", "init"])
    return f"In the weakest, {name}, delta changes by {factor:.3g} a layer{theory}."


def _watch(rows: Sequence[dict[str, Any]]) -> str:
    """A gradient that arrives and a net that does not learn, or not in every seed."""
    names = selections.labels(_frame(rows)) if len(rows) > 1 else {}
    uneasy = [row for row in rows if fate(row) == SURVIVE and selections.verdicts(row)[0][0] != "healthy"]
    if not uneasy:
        return ""
    said = [f"{names[str(row['cell'])]} is {counts_of(row)}" for row in uneasy[:2]]
    more = f", and {len(uneasy) - 2} more" if len(uneasy) > 2 else ""
    return f"A gradient that arrives is not learning yet: {'; '.join(said)}{more}."


def matrix(data: Tables) -> dict[str, Any]:
    """A row a net, a column a depth: its profile on one scale, its verdict, what is left, how good it is."""
    every = families(data.summary)
    places = looks_of(every)
    depths = sorted(int(depth) for depth in data.summary["depth"].unique())
    depths = [depths[i] for i in selections.thin(len(depths), MOST_DEPTHS)]
    shown = {name: every[name] for name in [list(every)[i] for i in selections.thin(len(every), MOST_NETS)]}
    cells, decades = {}, []
    for name, group in shown.items():
        for row in selections.rows_of(group):
            if int(row["depth"]) in depths:
                way = way_of(
                    Tables(layers=data.layers[data.layers["cell"] == row["cell"]], summary=None, steps=None)
                )
                cells[name, int(row["depth"])] = (row, way)
                if way is not None:
                    relative = way.mean - way.mean[-1]
                    decades += [float(v) for v in relative[np.isfinite(relative)]]
    span = (min([*decades, -1.0]), max([*decades, 0.0]))
    sick = {
        name: min((decades_of(r) for r in selections.rows_of(g)), default=0.0) for name, g in shown.items()
    }
    lines = []
    for name in sorted(
        shown, key=lambda name: sick[name] if isfinite(sick[name]) else -np.inf if sick[name] < 0 else 0.0
    ):
        fields: list[dict[str, Any] | None] = []
        for depth in depths:
            if (name, depth) not in cells:
                fields.append(None)
                continue
            row, way = cells[name, depth]
            shown_of = {
                "spark": pictures.spark(way, places[name], span, depth) if way is not None else "",
                "chip": chip_of(row),
                "left": left_words(row),
                "score": fixed(2)(float(row[score.of_row(row).mean])),
            }
            fields.append(shown_of)
        lines.append({"name": name, "look": places[name], "fields": fields})
    return {"depths": depths, "rows": lines, "left_out": len(every) - len(shown), "several": len(depths) > 1}


def chip_of(row: dict[str, Any]) -> tuple[str, str]:
    """(the word, its seeds where they are not all) of the first verdict: `unstable`, `1 of 3 seeds`."""
    found = selections.verdicts(row)
    if not found:
        return "no verdict", ""
    name, seeds = found[0]
    few = seeds and seeds != f"{int(row['seeds'])}/{int(row['seeds'])}"
    return name, f"{seeds.replace('/', ' of ')} seeds" if few else ""


def left_words(row: dict[str, Any]) -> str:
    """What layer 1 gets of the top layer's gradient: `÷ 347`, `unchanged`, `× 12`."""
    decades = decades_of(row)
    if isnan(decades):
        return ""
    if not isfinite(decades):
        return "0" if decades < 0 else "× ∞"
    if abs(decades) < 0.02:
        return "unchanged"
    said = scientific(abs(decades)) if abs(decades) >= 4 else times(decades)
    return f"{'÷' if decades < 0 else '×'} {plain_power(said)}"


def shape_panels(data: Tables) -> list[dict[str, Any]]:
    """phi, phi' and where z lies, a panel an activation, of its deepest cell."""
    rows = selections.rows_of(data.summary)
    places = palette.looks({str(row["activation"]): str(row["activation"]) for row in rows})
    panels = []
    one = len({str(row["activation"]) for row in rows}) == 1
    for activation in known([str(row["activation"]) for row in rows])[:MOST_PANELS]:
        own = max((row for row in rows if row["activation"] == activation.text), key=lambda row: row["depth"])
        cut = selections.of_cell(data, str(own["cell"]))
        density = explained.z_density(cut)
        curves = sample(activation, reach=5.0, points=241)
        given = None if density is None else density[:2]
        wide = [True, False] if one else [False]
        drawn = [pictures.shape(curves, given, places[activation.text], activation.text, w) for w in wide]
        if not one:
            drawn[0].kind = ""
        panels.append({"name": activation.text, "look": places[activation.text], "drawn": drawn,
                       "known": density[2] if density else "", "depth": own["depth"]})  # fmt: skip
    return panels
