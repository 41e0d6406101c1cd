"""The gradient's budget: how many decades weights, slopes, norms and the rest lose or gain of it on its way down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.decay import Array
from gradlab.analyse.evidence import gradient_words
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.known_parts import has_skips, is_homogeneous
from gradlab.analyse.paths import readings_of
from gradlab.analyse.records import Records

COLUMNS = {"weights": "weight_gain", "slopes": "slope_gain", "norms": "norm_gain", "rest": "other_gain"}
"""Each part with its column of layers.csv."""
UNKNOWN = "unknown"
"""What layers change whose parts were not recorded."""
EXPLAINED = "decades (factors of 10)"
"""The unit where it is met first."""
WORTH_SAYING = 0.05
"""Decades that are not 0.0 when they are written with one digit."""
WORTH_CHANGING = 0.5
"""Decades from which it is said how much larger or smaller the weights should be: half of them lie within the
scatter of nets that learn (`thresholds.WEAK_DECADES`)."""


class Budget(NamedTuple):
    """Means over seeds, of the way from the top hidden layer down to the lowest one with a delta.

    decades: what each part changes, below 0 for a loss; together all that delta changes. Parts that no layer has are
             not among them
    most:    of each part, the index of the layer in which it changes most
    layers:  in how many layers the weights' share is known
    joined:  phi(a z) is a phi(z), so that other weights leave the slopes as they are and can make up for them
    """

    decades: Mapping[str, float]
    most: Mapping[str, int]
    layers: float
    joined: bool

    @property
    def leader(self) -> str:
        """The part that changes most in the direction of the whole; "" where nothing is known. Weights and slopes that
        can make up for each other count together."""
        sign = float(np.sign(sum(self.decades.values())))
        share = {part: sign * number for part, number in self.decades.items()}
        larger = max(("weights", "slopes"), key=lambda part: share.get(part, -np.inf))
        if self.joined and larger in share:
            both = share.pop("weights", 0.0) + share.pop("slopes", 0.0)
            share[larger] = both
        return max(share, key=lambda part: share[part], default="")

    @property
    def scale(self) -> float:
        """By what the weights must be multiplied so that the gradient keeps its size through them (joined: through
        weights and slopes); nan where that is not known, and where a norm undoes it."""
        if not self.layers or "norms" in self.decades:
            return np.nan
        change = self.decades["weights"] + (self.decades.get("slopes", 0.0) if self.joined else 0.0)
        return float(10.0 ** (-change / self.layers))


def budget(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Budget:
    """Of the seeds that agree on a verdict, at the record that each one's evidence is taken from."""
    path, records = faults[0].path, facts.records
    some = [(seed, fault.reference) for seed, fault in zip(seeds, faults, strict=True) if fault.path == path]
    places = [seed for seed, _ in some], [record for _, record in some]
    gradient, own = facts.gradient_of(path), facts.rows_of(path)
    top, bottom, total = gradient.top[places], gradient.bottom[places], gradient.decades[places]
    index = np.arange(len(records.layers))
    between = (index >= bottom[:, None]) & (index < top[:, None]) & np.isfinite(total)[:, None] & _along(own)
    judged = np.isfinite(total)
    parts: dict[str, Array] = {}
    for part, column in COLUMNS.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(between, np.log10(records.layer(column)[places]), np.nan)
        if np.isfinite(logs).any():
            parts[part] = np.where(np.isfinite(logs), logs, 0.0)[judged]
    decades = {part: float(logs.sum(-1).mean()) for part, logs in parts.items()}
    if not decades:
        return Budget({}, {}, 0.0, False)
    left = float(total[judged].mean()) - sum(decades.values())
    if abs(left) >= WORTH_SAYING:
        decades[UNKNOWN] = left
    most = {part: int(np.abs(logs.mean(0)).argmax()) for part, logs in parts.items()}
    known = np.isfinite(records.layer("weight_gain")[places]) & between
    applied = {records.activation(layer) for layer in range(len(records.layers))} - {""}
    joined = bool(applied) and all(map(is_homogeneous, applied))
    return Budget(decades, most, float(known[judged].sum(-1).mean()), joined)


def _along(rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[L]: the layers of a path whose gains lead down along it: from the next layer, which may be of another path."""
    return np.asarray(rows & np.append(rows[1:], False))


def decades(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Mapping[str, float]:
    """What each part loses (below 0) or gains, in decades."""
    return budget(facts, seeds, faults).decades


def of_first(records: Records) -> dict[str, float]:
    """What each part changes from the top hidden layer down to layer 1 at the first record, in decades: the mean over
    seeds; nan where no layer has that part."""
    found = {}
    along = _along(next(iter(readings_of(records).values())))[:-1]
    for part, column in COLUMNS.items():
        with np.errstate(divide="ignore"):
            logs = np.where(along, np.log10(records.first(column)[:, :-1]), np.nan)
        known = ~np.isnan(logs).all()
        found[part] = float(np.where(np.isnan(logs), 0.0, logs).sum(-1).mean()) if known else np.nan
    return found


def words_of_row(row: Mapping[str, Any]) -> str:
    """Who loses or gains the gradient of a cell at birth, by its row of summary.csv; "" where it says nothing,
    as that of an older table."""
    decades = {part: float(row.get(f"attenuation_{part}_mean", np.nan)) for part in COLUMNS}
    return in_words(decades, has_skips(str(row.get("residual", "none"))), EXPLAINED)


def spent_words(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    """The way down, and who loses or gains on it: `delta shrinks ...; slopes lose 12.0 decades, weights 0.2`."""
    found = budget(facts, seeds, faults)
    skips = has_skips(str(facts.records.cell.get("residual", "none")))
    words = gradient_words(facts, seeds, faults), in_words(found.decades, skips), scale_words(found)
    return "; ".join(filter(None, words))


def in_words(decades: Mapping[str, float], skips: bool, unit: str = "decades") -> str:
    """`slopes lose 12.0 decades, weights 0.2`, the largest first; "" where nothing is worth saying.

    skips: the rest is that of skip connections; unit: how the first number's is called
    """
    rest = ("skip connections", "") if skips else ("the rest", "s")
    called = {"rest": rest, UNKNOWN: ("layers of unknown parts", "")}
    said: list[str] = []
    verb = ""
    for part, number in sorted(decades.items(), key=lambda item: -abs(item[1])):
        if not abs(number) >= WORTH_SAYING:  # nor where it is no number
            continue
        name, ending = called.get(part, (part, ""))
        word = ("lose" if number < 0 else "gain") + ending
        amount = f"{abs(number):.1f}" if np.isfinite(number) else "all"
        of = "" if said or amount == "all" else f" {unit}"
        said.append(f"{name} {amount}" if word == verb else f"{name} {word} {amount}{of}")
        verb = word
    return ", ".join(said)


def scale_words(found: Budget) -> str:
    """How much larger or smaller weights would keep the gradient's size, where that is what changes it; else ""."""
    causes = ("weights", "slopes") if found.joined else ("weights",)
    if found.leader not in causes or not abs(np.log10(found.scale)) * found.layers >= WORTH_CHANGING:
        return ""
    return f"weights multiplied by {found.scale:.3g} would keep its size"


def weights_reason(found: Budget) -> str:
    """Why other weights help, with the number where it is they that lose or gain."""
    if words := scale_words(found):
        return words.replace("its size", "the gradient's size from layer to layer")
    return "weights of the right variance keep the gradient's size from layer to layer"


def norm_cures(facts: Facts, found: Budget) -> Iterator[Cure]:
    """Where norms change the gradient most: the place of the worst."""
    if found.leader == "norms" and abs(found.decades["norms"]) >= WORTH_CHANGING:
        layer = found.most["norms"]
        low, high = (str(facts.records.place(place)[1]) for place in (layer, layer + 1))
        verb = "lose" if found.decades["norms"] < 0 else "gain"
        reason = f"the norms {verb} {abs(found.decades['norms']):.1f} decades, most between {high} and {low}"
        yield cure.code("the norm inside of a block, x = x + block(norm(x)), or none there", reason)
