"""What the first screen of a page answers: what happened, what was trained, how sure that is, why, what to try."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from gradlab import activations
from gradlab.analyse.budget import in_words
from gradlab.analyse.diagnosis import diagnose
from gradlab.analyse.findings import Diagnosis
from gradlab.analyse.headline import SURVIVE, decades_of, fate, headline, times
from gradlab.analyse.origin import OWN_LOOP, is_users
from gradlab.base.errors import GradlabError
from gradlab.report import explained, palette, pictures, selections, try_command
from gradlab.report.explained import Budget
from gradlab.report.families import families, looks_of
from gradlab.report.pictures import Way
from gradlab.report.selections import Tables
from gradlab.report.shapes import known, sample
from gradlab.report.summary_columns import fixed, with_interval
from gradlab.report.svg import SUPERSCRIPTS, Drawing
from gradlab.tables import score

MOST_DIAGNOSED = 60
MOST_NETS, MOST_DEPTHS = 12, 3
MOST_PANELS = 12
BALANCED = 0.3
"""decades below which a cause is said to do nothing"""


@dataclass(frozen=True)
class Number:
    """A number that a reader takes along: the value, what it is, and what it is compared with."""

    value: str
    label: str
    beside: str = ""


@dataclass(frozen=True)
class Fact:
    """A line of the first screen: its question and the answer."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class FirstScreen:
    headline: str
    numbers: Sequence[Number]
    facts: Sequence[Fact]
    command: str
    reason: str
    hero: Sequence[Drawing] = ()
    hero_title: str = ""
    hero_caption: str = ""
    matrix: Any = None
    lead: str = ""
    evidence: Sequence[tuple[str, Sequence[str]]] = field(default=())


def superscripts(text: str) -> Markup:
    """Escaped text in which powers of ten, `10^-12`, have a real superscript."""
    return Markup(
        re.sub(
            r"\b10\^(-?\d+(?:\.\d+)?)",
            lambda found: f"10<sup>{found[1].replace('-', '−')}</sup>",
            str(escape(text)),
        )
    )


def scientific(decades: float) -> str:
    """10 to so many decades in three digits: `0.66`, `8.3 × 10^-13`."""
    if not isfinite(decades):
        return "0" if decades < 0 else "∞"
    if -3 <= decades < 4:
        return f"{10.0**decades:.3g}"
    whole = int(np.floor(decades))
    digits = f"{10.0 ** (decades - whole):.2g}"
    if digits == "10":
        digits, whole = "1", whole + 1
    return f"{digits} × 10^{whole}"


# ---- one cell


def of_cell(data: Tables, config: str, chance: float | None) -> FirstScreen:
    row = selections.rows_of(data.summary)[0]
    rows = explained.first_record(explained.hidden_of(data))
    way = way_of(data)
    look = selections.look_of(data)
    found = _diagnoses(data, {str(row["cell"]): chance})
    command, reason = try_command.advised(row, config)
    if not command and not reason:
        command, reason = _further(row, config)
    facts = [Fact("Trained", trained(row, data)), Fact("How sure", how_sure_of_cell(row, rows))]
    why = why_of_cell(data, row, found)
    if why:
        facts.append(Fact("Why", why))
    return FirstScreen(
        headline=headline(data.summary),
        numbers=numbers_of(row, rows, chance),
        facts=facts,
        command=command,
        reason=reason,
        hero=[pictures.way_down(way, look, wide) for wide in (True, False)] if way is not None else [],
        hero_title="The gradient that reaches each layer, before training",
        hero_caption=_hero_caption(way),
        evidence=_evidence(found),
    )


def numbers_of(row: dict[str, Any], rows: Any, chance: float | None) -> list[Number]:
    """What is left of the gradient at layer 1, what a layer keeps, how good the net is."""
    said = []
    decades = decades_of(row)
    if not isnan(decades):
        said.append(Number(scientific(decades), f"of layer {int(row['depth'])}’s gradient reaches layer 1"))
        factor, predicted = explained.factor_a_layer(rows)[0], float(row["decay_per_layer_predicted"])
        if isfinite(factor):
            beside = "" if isnan(predicted) else f"theory: {predicted:.3g}"
            said.append(
                Number(f"{factor:.3g}", "kept by each layer" if factor < 1 else "times at each layer", beside)
            )
    good = score.of_row(row)
    value = float(row[good.mean])
    if not isnan(value):
        beside = f"guessing: {chance:.3f}" if chance is not None and good is score.ACCURACY else ""
        said.append(Number(f"{value:.3f}", f"{good.name.removeprefix('validation ')} at the end", beside))
    return said


def trained(row: dict[str, Any], data: Tables) -> str:
    """The configuration in words, the initialiser as it came out."""
    steps = int(data.steps["step"].max()) if len(data.steps) else 0
    seeds = int(row["seeds"])
    count = f"{seeds} seed{'' if seeds == 1 else 's'}"
    depth = int(row["depth"])
    if is_users(row):
        where = "in a loop of its own" if row["dataset"] == OWN_LOOP else f"on {row['dataset']}"
        return f"{row['activation']}, {depth} recorded layers, {where}, {steps} steps, {count}"
    shape = f"{row['activation']}, {depth} hidden layer{'' if depth == 1 else 's'} of {row['width']}"
    parts = [shape, init_words(row)]
    parts += [f"{row[name]} {name}" for name in ("norm", "residual") if str(row[name]) != "none"]
    named = {"sgd": "SGD", "adam": "Adam"}.get(str(row["optimizer"]), str(row["optimizer"]))
    return f"{', '.join(parts)}, {named} at rate {float(row['lr']):g}, on {row['dataset']} for {steps} steps, {count}"


def init_words(row: dict[str, Any]) -> str:
    """`Glorot’s init (auto)`: what `auto` takes for the activation."""
    init = str(row["init"])
    if init != "auto":
        return f"init {init}"
    activation = activations.registered(str(row["activation"]))
    usual = activation.usual_init if activation else ""
    return f"init {usual} (auto)" if usual else "init auto"


def how_sure_of_cell(row: dict[str, Any], rows: Any) -> str:
    seeds = int(row["seeds"])
    if seeds < 2:
        return "One seed: another may tell another story, and there are no intervals."
    counts = {text for _, text in selections.verdicts(row)}
    agree = counts == {f"{seeds}/{seeds}"}
    said = (
        f"All {seeds} seeds agree on the verdict" if agree else f"The seeds do not all agree ({_counts(row)})"
    )
    values = explained.attenuations(rows)
    values = values[np.isfinite(values)]
    if values.size > 1 and abs(float(values.mean())) > 0.1:
        low, high = sorted((abs(float(values.min())), abs(float(values.max()))))
        if values.min() * values.max() > 0 and times(low) != times(high):
            said += f"; layer 1 gets {times(low)} to {times(high)} times {'less' if values.mean() < 0 else 'more'}"
    good = score.of_row(row)
    if not isnan(float(row[good.half_width])):
        said += f"; {good.name} {with_interval(row, good, fixed(3))} (95 %)"
    return said + "."


def _counts(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} in {text.replace('/', ' of ')}" for name, text in selections.verdicts(row))


def why_of_cell(data: Tables, row: dict[str, Any], found: Sequence[Diagnosis]) -> str:
    budget = explained.budget_of(data)
    first = (selections.verdicts(row) or [("", "")])[0][0]
    if budget is not None and first in ("vanishing", "exploding", "healthy", "underflow", "unstable"):
        return budget_words(budget, str(row["activation"]))
    if found and found[0].findings:
        return f"{found[0].findings[0].evidence}."
    return f"{found[0].notes[0]}." if found and found[0].notes else ""


def budget_words(budget: Budget, name: str) -> str:
    """Where the decades go, in two sentences; with norms or skips, which share the work, in a list."""
    slopes = budget.part("slopes")
    if budget.skips or "norms" in budget.parts or "slopes" not in budget.parts:
        said = in_words(budget.parts, budget.skips)
        return f"On the way down {said}." if said else "On the way down no part loses or gains."
    activation = activations.registered(name)
    sup = activation.slope_sup if activation else None
    least = f", never more than {sup:.3g}" if sup is not None else ""
    said = f"Each layer multiplies the gradient by {name}’s slope, here {budget.slope:.3g} (rms){least}"
    if abs(slopes) < BALANCED:
        said += ": that costs nothing"
    else:
        said += f"; {budget.steps} such step{'' if budget.steps == 1 else 's'} leave 10^{slopes:.1f}"
    more = budget.part("weights") + budget.part("rest")
    if abs(more) < BALANCED:
        return (
            said + "; the weights give nothing back."
            if slopes < -BALANCED
            else said + ", nor do the weights."
        )
    if slopes < 0 < more:
        even = abs(budget.total) < BALANCED
        return said + f"; the weights give 10^{more:.1f} back" + (": they balance." if even else ".")
    return said + f"; the weights multiply it by 10^{more:.1f} more."


def _further(row: dict[str, Any], config: str) -> tuple[str, str]:
    """What to try where nothing is wrong: the same net twice as deep."""
    if is_users(row) or not selections.verdicts(row):
        return "", ""
    deeper = 2 * int(row["depth"])
    return try_command.command(
        row, config, f"--depth {deeper}"
    ), "twice as deep: does the gradient still get through?"


def way_of(data: Tables) -> Way | None:
    """The way down at the first record; None of a net with one recorded layer."""
    rows = explained.first_record(explained.hidden_of(data))
    if rows["layer"].nunique() < 2 or not rows["delta_rms"].notna().any():
        return None
    _, numbers, cube = selections.cube(rows, "delta_rms")
    logs = selections.log10(cube[:, :, 0])
    theory = np.full(len(numbers), np.nan)
    if "delta_rms_predicted" in rows and rows["delta_rms_predicted"].notna().any():
        theory = selections.log10(selections.cube(rows, "delta_rms_predicted")[2][:, :, 0]).mean(0)
    with np.errstate(invalid="ignore"):
        return Way(numbers, logs.mean(0), logs.min(0), logs.max(0), theory, len(logs))


def _hero_caption(way: Way | None) -> str:
    if way is None:
        return ""
    said = (
        f"Marks: delta (rms), the back-propagated error, at step 0, mean of {way.seeds} seeds on this log axis."
        if way.seeds > 1
        else ("Marks: delta (rms), the back-propagated error, at step 0.")
    )
    if way.seeds > 1:
        spread = float(np.nanmax(np.where(np.isfinite(way.high - way.low), way.high - way.low, 0.0)))
        said += " Band: lowest to highest seed" + (", narrower than the marks." if spread < 0.1 else ".")
    if np.isfinite(way.theory).any():
        said += " Dots: mean-field theory, which needs no training."
    if abs(way.decades) >= BALANCED:
        said += " Dashes: what the top layer has."
    return said


# ---- several cells


def of_cells(data: Tables, configs: Sequence[str], chances: dict[str, float]) -> FirstScreen:
    ranked = selections.ranking(data.summary)
    rows = selections.rows_of(ranked)
    against = selections.against_best(data)
    deepest = max(row["depth"] for row in rows)
    best = next(row for row in rows if row["depth"] == deepest)
    command = try_command.command(best, configs[0]) if len(configs) == 1 and not is_users(best) else ""
    found = _diagnoses(data, chances) if len(rows) <= MOST_DIAGNOSED else []
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
        evidence=_evidence(found, names),
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
    said = [f"{names[str(row['cell'])]} is {_counts(row)}" for row in uneasy[:2]]
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


def plain_power(text: str) -> str:
    """`1.2 × 10¹²`: superscripts as characters, where no markup can stand."""
    return re.sub(r"10\^(-?\d+)", lambda found: "10" + found[1].translate(SUPERSCRIPTS), text)


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


# ---- both


def _diagnoses(data: Tables, chances: Any) -> list[Diagnosis]:
    """The evidence behind the verdicts; nothing where the tables cannot be judged again."""
    chance = {cell: value for cell, value in chances.items() if value is not None}
    columns = selections.cell_columns(data.summary)
    steps = data.steps if len(data.steps) else None
    try:
        return diagnose(
            data.layers,
            steps,
            chance=chance,
            cell_columns=columns,
            time=selections.optional_table(data, "time"),
            attention=selections.optional_table(data, "attention"),
        )
    except GradlabError:
        return []


def _evidence(found: Sequence[Diagnosis], names: dict[str, str] | None = None) -> list[tuple[str, list[str]]]:
    said = []
    for one in found:
        lines = [f"{each.verdict}, {each.place}: {each.evidence}" for each in one.findings]
        lines += [f"in fewer seeds: {each.verdict}, {each.place}: {each.evidence}" for each in one.minority]
        said.append(((names or {}).get(str(one.cell.get("cell")), ""), [*lines, *one.notes]))
    return [each for each in said if each[1]]
