"""The first screen of one cell."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isnan
from typing import Any

import numpy as np

from gradlab import activations
from gradlab.analyse.budget import EXPLAINED, in_words
from gradlab.analyse.findings import Diagnosis
from gradlab.analyse.headline import decades_of, headline, times
from gradlab.analyse.origin import OWN_LOOP, is_users
from gradlab.report import explained, pictures, selections, try_command
from gradlab.report.explained import Budget
from gradlab.report.first_screen import (
    Fact,
    FirstScreen,
    Number,
    counts_of,
    diagnoses_of,
    evidence_of,
    scientific,
    time_way,
    way_of,
)
from gradlab.report.pictures import Way
from gradlab.report.selections import Tables
from gradlab.report.summary_columns import fixed, with_interval
from gradlab.tables import score

BALANCED = 0.3
"""decades below which a cause is said to do nothing"""


def of_cell(data: Tables, config: str, chance: float | None) -> FirstScreen:
    row = selections.rows_of(data.summary)[0]
    rows = selections.on_line(explained.first_record(explained.hidden_of(data)))
    found = diagnoses_of(data, {str(row["cell"]): chance})
    in_time = _in_time(found)
    way = time_way(data, in_time) if in_time else way_of(data)
    look = selections.look_of(data)
    command, reason = try_command.advised(row, config)
    if not command and not reason:
        command, reason = _further(row, config)
    facts = [Fact("Trained", trained(row, data)), Fact("How sure", how_sure_of_cell(row, rows))]
    why = why_of_cell(data, row, found)
    if why:
        facts.append(Fact("Why", why))
    return FirstScreen(
        headline=headline(data.summary, selections.optional_table(data, "time")),
        numbers=numbers_of(row, rows, chance),
        facts=facts,
        command=command,
        reason=reason,
        hero=[pictures.way_down(way, look, wide) for wide in (True, False)] if way is not None else [],
        hero_title=f"The gradient that reaches each {'step of the sequence' if in_time else 'layer'}, before training",
        hero_caption=_hero_caption(way, in_time),
        evidence=evidence_of(found),
    )


def numbers_of(row: dict[str, Any], rows: Any, chance: float | None) -> list[Number]:
    """What is left of the gradient at layer 1, what a layer keeps, how good the net is."""
    said = []
    decades = decades_of(row)
    if not isnan(decades):
        top = f"layer {int(row['depth'])}’s gradient"
        label = f"of {top} reaches layer 1" if decades <= 0 else f"times {top} reaches layer 1"
        said.append(Number(scientific(decades), label))
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
        layers = f"{depth} recorded layer{'' if depth == 1 else 's'} below the output"
        return f"{row['activation']}, {layers}, {where}, {steps} steps, {count}"
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
        f"{'Both' if seeds == 2 else f'All {seeds}'} seeds agree on the verdict"
        if agree
        else f"The seeds do not all agree ({counts_of(row)})"
    )
    values = explained.attenuations(rows)
    values = values[np.isfinite(values) & (rows["layer"].min() == 1)]
    if values.size > 1 and abs(float(values.mean())) > 0.1:
        low, high = sorted((abs(float(values.min())), abs(float(values.max()))))
        if values.min() * values.max() > 0 and times(low) != times(high):
            said += f"; layer 1 gets {times(low)} to {times(high)} times {'less' if values.mean() < 0 else 'more'}"
    good = score.of_row(row)
    if not isnan(float(row[good.half_width])):
        said += f"; {good.name} {with_interval(row, good, fixed(3))} (95 %)"
    return said + "."


def why_of_cell(data: Tables, row: dict[str, Any], found: Sequence[Diagnosis]) -> str:
    budget = explained.budget_of(data)
    first = (selections.verdicts(row) or [("", "")])[0][0]
    if (
        budget is not None
        and not _in_time(found)
        and first in ("vanishing", "exploding", "healthy", "underflow", "unstable")
    ):
        return budget_words(budget, str(row["activation"]))
    if found and found[0].findings:
        return _sentence(found[0].findings[0].evidence)
    return _sentence(found[0].notes[0]) if found and found[0].notes else ""


def _in_time(found: Sequence[Diagnosis]) -> str:
    """The recurrent layer in whose steps the first fault shows; "" where it shows in the layers."""
    return found[0].findings[0].where if found and found[0].findings else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def budget_words(budget: Budget, name: str) -> str:
    """Where the decades go, in two sentences; with norms or skips, which share the work, in a list."""
    slopes = budget.part("slopes")
    if budget.skips or "norms" in budget.parts or "slopes" not in budget.parts:
        said = in_words(budget.parts, budget.skips, EXPLAINED)
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


def _hero_caption(way: Way | None, in_time: str) -> str:
    if way is None:
        return ""
    marks = "delta (rms), the back-propagated error, at step 0"
    if in_time:
        marks = f"what is left in {in_time} of a gradient of 1 that comes to its last step alone, at step 0"
    said = f"Marks: {marks}" + (f", mean of {way.seeds} seeds on this log axis." if way.seeds > 1 else ".")
    if way.seeds > 1:
        spread = float(np.nanmax(np.where(np.isfinite(way.high - way.low), way.high - way.low, 0.0)))
        said += " Band: lowest to highest seed" + (", narrower than the marks." if spread < 0.1 else ".")
    if np.isfinite(way.theory).any():
        said += " Dots: mean-field theory, which needs no training."
    if way.beside:
        said += " Line: the stream. Rings: the branches and heads beside it."
    if abs(way.decades) >= BALANCED:
        said += f" Dashes: what the {'last step' if in_time else 'top layer'} has."
    return said
