"""What happened, in one sentence of plain words: of a cell, or of the cells of a comparison.

The verdict's own words come first (`Word.headline`), then the number that a person can say. The terminal and the page
both read them here. A factor between layers is always the geometric mean over the seeds: ten to the mean attenuation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, isfinite, isnan, log10, nan
from typing import TYPE_CHECKING, Any

from gradlab.analyse import thresholds as at
from gradlab.analyse.verdicts import WORDS
from gradlab.tables import score

if TYPE_CHECKING:
    import pandas as pd

NAMED = ((15, ""), (12, " trillion"), (9, " billion"), (6, " million"), (0, ""))
"""decades from which a number has a name; beyond the first it is a power of ten"""
EQUAL_DECADES = log10(1.25)
"""Two layers whose gradients differ less than this get "about as much": the scatter of one net of width 64."""
MOST_NAMES = 3
FATES = {
    "vanishing": "vanish", "underflow": "vanish", "exploding": "explode", "no-gradient": "lose their gradient",
    "dead": "die", "diverged": "blow up", "healthy": "survive",
}  # fmt: skip
"""What is said of several nets with this first verdict"""
LONE = {"lose their gradient": "loses its gradient", "do not learn": "does not learn", "train": "trains"}
SURVIVE = FATES["healthy"]
NO_FATE = "do not learn"


def times(decades: float) -> str:
    """A factor of that many decades (its sign apart) as people say it: `9.4`, `1.2 trillion`, `3.1 × 10^31`."""
    decades = abs(decades)
    if decades >= NAMED[0][0]:
        power = floor(decades)
        return f"{10.0 ** (decades - power):.1f} × 10^{power}"
    whole = 10.0**decades
    for power, name in NAMED[1:]:
        if decades >= power:
            number = whole / 10.0**power
            if number >= 9999.5:  # three digits, as of the larger ones two
                number = float(f"{number:.3g}")
            return (f"{number:,.0f}" if number >= 99.5 else f"{number:.2g}") + name
    raise AssertionError(decades)


def headline(summary: pd.DataFrame, time: pd.DataFrame | None = None) -> str:
    """One sentence without its full stop, of one row of summary.csv or of several; time: time.csv of recurrent nets."""
    rows = [{str(name): value for name, value in row.items()} for row in summary.to_dict("records")]
    if not rows:
        return "No cell is finished"
    return of_cell(rows[0], time) if len(rows) == 1 else of_cells(rows, _differ(summary))


def of_cell(row: Mapping[str, Any], time: pd.DataFrame | None = None) -> str:
    """`The gradient dies: layer 1 gets 1.2 trillion times less than layer 20`, from a row of summary.csv."""
    verdicts = _words(row.get("verdict"))
    if not verdicts:
        return "Nothing was recorded that could be judged"
    first = verdicts[0]
    word = WORDS.get(first)
    said = (word.headline or word.summary) if word else f"The verdict is {first}"
    decades, way = decades_of(row), way_words(row)
    if first == "healthy":
        learns = _reaches(row)
        if decades <= -at.WEAK_DECADES or decades >= at.WEAK_DECADES:
            return f"The net learns{learns}, though {way}"
        if not way:
            return f"The net learns{learns}" if learns else said
        return f"{said}: {way}" + (f", and the net learns{learns}" if learns else "")
    if first == "unstable":
        return f"{said}: {_share_of_seeds(row)}{_range_of_scores(row)}"
    if way and _agrees(first, decades):
        return f"{said}: {way}"
    if in_time := _time_words(first, time):
        return f"{said} through time: {in_time}"
    if first == "not-learning":
        reaches = _reaches(row).strip(" ()")
        arrives = ", though the gradient arrives" if abs(decades) < at.WEAK_DECADES else ""
        return said + arrives + (f": {reaches}" if reaches else "")
    return said


def of_cells(rows: Sequence[Mapping[str, Any]], differ: Sequence[str]) -> str:
    """`sigmoid and hard_sigmoid vanish; relu, tanh and 4 others survive to depth 20`.

    differ: the columns in which the cells differ. Cells that differ in depth alone count as one net, judged where it
    is deepest; where a shallower one is better off, the depth to which it survives is said.
    """
    deep = "depth" in differ
    others = [name for name in differ if name != "depth"] or ["activation"]
    nets: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        nets.setdefault(_name(row, others), []).append(row)
    fates: dict[tuple[str, str], list[str]] = {}
    for name, own in nets.items():
        ordered = sorted(own, key=lambda row: float(row.get("depth", nan)))
        last = fate(ordered[-1])
        lived = [row for row in ordered if fate(row) == SURVIVE]
        where = ""
        if deep and last == SURVIVE:
            where = f" to depth {ordered[-1]['depth']}"
        elif deep and lived:
            where = f" from depth {next(r['depth'] for r in ordered if r['depth'] > lived[-1]['depth'])}"
        fates.setdefault((last, where), []).append(name)
    if len(nets) == 1:
        (what, where), _ = next(iter(fates.items()))
        return f"{next(iter(nets))} {_singular(what)}{where or (' at every depth' if deep else '')}"
    parts = []
    for (what, where), names in sorted(fates.items(), key=lambda item: item[0][0] == SURVIVE):
        if len(names) == len(nets):
            return f"All {len(names)} {what}{where or (' at every depth' if deep else '')}"
        parts.append(f"{_list(names)} {_singular(what) if len(names) == 1 else what}{where}")
    return "; ".join(parts)


def fate(row: Mapping[str, Any]) -> str:
    """What became of a cell's gradient, as a verb of several: `vanish`, `survive`. A gradient that gets through
    survives, whether the net learns or not."""
    verdicts = _words(row.get("verdict"))
    found = next((FATES[name] for name in verdicts if name in FATES), "")
    if found:
        return found
    return SURVIVE if verdicts and abs(decades_of(row)) < at.WEAK_DECADES else NO_FATE


def decades_of(row: Mapping[str, Any]) -> float:
    """Mean attenuation; NaN where the cell has a single layer, so that nothing is compared."""
    return float(row["attenuation_mean"]) if float(row.get("depth", nan)) > 1 else nan


def way_words(row: Mapping[str, Any]) -> str:
    """`layer 1 gets 347 times less than layer 5`; "" where nothing is compared."""
    decades = decades_of(row)
    if isnan(decades):
        return ""
    if not isfinite(decades):
        return "nothing reaches layer 1" if decades < 0 else "layer 1 gets infinitely more"
    top = f"layer {int(row['depth'])}"
    if abs(decades) < EQUAL_DECADES:
        return f"layer 1 gets about as much as {top}"
    return f"layer 1 gets {times(decades)} times {'less' if decades < 0 else 'more'} than {top}"


def _time_words(verdict: str, time: pd.DataFrame | None) -> str:
    """`in rnn.l0 step 1 gets 8.7 × 10^16 times less than step 64`, at the first record, of the layer that keeps most
    of a gradient that dies or lets it grow most; "" where nothing is recurrent."""
    if time is None or not len(time) or verdict not in ("vanishing", "underflow", "exploding"):
        return ""
    first = time[time["step"] == time["step"].min()]
    known = first[first["carried"] > 0]
    left = known["carried"].map(log10).groupby([known["name"], known["time"]]).mean()
    grows = verdict == "exploding"
    found: list[tuple[float, str, int, int]] = []
    for name, of_layer in left.groupby(level="name"):
        values = of_layer.droplevel("name")
        end, start = values.abs().idxmin(), values.idxmax() if grows else values.idxmin()
        found.append((float(values[start] - values[end]), str(name), int(start), int(end)))
    if not found:
        return ""
    decades, name, start, end = max(found)
    if abs(decades) < at.WEAK_DECADES or grows != (decades > 0):
        return ""
    return f"in {name} step {start} gets {times(decades)} times {'more' if grows else 'less'} than step {end}"


def _agrees(verdict: str, decades: float) -> bool:
    """Whether the change through the layers is what the verdict speaks of: through time it may be small."""
    if verdict in ("vanishing", "underflow"):
        return decades <= -at.WEAK_DECADES
    return verdict == "exploding" and decades >= at.WEAK_DECADES


def _reaches(row: Mapping[str, Any]) -> str:
    """` (validation accuracy 0.93)`; "" where none is known."""
    good = score.of_row(row)
    value = float(row[good.mean])
    return "" if isnan(value) else f" ({good.name} {value:.2f})"


def _share_of_seeds(row: Mapping[str, Any]) -> str:
    counts = str(row.get("verdict_seeds", "")).split(",")[0].split("/")
    if len(counts) != 2:
        return "some seeds lose what others learn"
    return (
        f"{counts[0]} of {counts[1]} seeds {'fails' if counts[0] == '1' else 'fail'} to learn or to keep it"
    )


def _range_of_scores(row: Mapping[str, Any]) -> str:
    reaches = _reaches(row).strip(" ()")
    return f", {reaches} on average" if reaches else ""


def _words(verdict: object) -> list[str]:
    return [part.strip() for part in verdict.split(",") if part.strip()] if isinstance(verdict, str) else []


def _differ(summary: pd.DataFrame) -> list[str]:
    columns = [str(name) for name in summary.columns]
    own = columns[: columns.index("seeds")] if "seeds" in columns else columns
    return [name for name in own if name != "cell" and summary[name].nunique(dropna=False) > 1]


def _name(row: Mapping[str, Any], others: Sequence[str]) -> str:
    """The net by what tells it from the others: `relu`, or `relu, init he`; `init he` where the activation is one."""
    parts = []
    for name in others:
        value = row[name]
        text = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(text if name == "activation" else f"{name} {text}")
    return ", ".join(parts) if len(others) < 2 else f"{parts[0]} ({', '.join(parts[1:])})"


def _list(names: Sequence[str]) -> str:
    if len(names) <= MOST_NAMES:
        return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    shown = MOST_NAMES - 1
    return f"{', '.join(names[:shown])} and {len(names) - shown} others"


def _singular(verb: str) -> str:
    return LONE.get(verb) or " ".join([_third(verb.split()[0]), *verb.split()[1:]])


def _third(verb: str) -> str:
    return f"{verb}es" if verb.endswith(("sh", "ch", "s")) else f"{verb}s"
