"""python -m benchmarks.detectors: train the labelled nets, judge them by every ruleset, write the tables.

Training takes some ten minutes on a free core; what is trained is kept, and an interrupted run goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from benchmarks.detectors.case import Case
from benchmarks.detectors.cases import all_cases
from benchmarks.detectors.making import records
from benchmarks.detectors.scoring import score
from benchmarks.detectors.truth import FAULTS, outcome, truth
from gradlab import diagnose
from gradlab.analyse.verdicts import RULESETS
from gradlab.store.rows import layer_rows, step_rows
from gradlab.store.tables import frame
from gradlab.sweep.cells import chance

HERE = Path(__file__).parent
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=Path, default=Path("results/detectors"), help="folder of trained nets")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--part", choices=("chosen", "all"), default="all", help="chosen alone prints, writes nothing"
    )
    chosen = parser.parse_args()
    cases = [case for case in all_cases() if chosen.part in ("all", case.part)]
    with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
        rows = []
        for done, row in enumerate(pool.map(partial(judged, folder=chosen.keep), cases), start=1):
            rows.append(row)
            print(f"{done} of {len(cases)}: {row['name']}", flush=True)
    nets = pd.DataFrame(rows)
    text = markdown(nets)
    print(text)
    if chosen.part == "all":
        nets.to_csv(HERE / "nets.csv", index=False)
        document = HERE.parents[1] / "docs" / "detectors.md"
        head, rest = document.read_text(encoding="utf-8").split(BEGIN)
        document.write_text(head + BEGIN + text + END + rest.split(END)[1], encoding="utf-8")


def judged(case: Case, folder: Path) -> dict[str, object]:
    """One net's row: its name, part, outcome, truth, and the verdicts of every ruleset."""
    stack, result = records(case, folder)
    cell = stack.cell.columns()
    layers, steps = frame([layer_rows(cell, result, None)]), frame([step_rows(cell, result)])
    said = diagnose(layers, steps, ruleset="all", chance=chance(stack.cell))
    found = outcome(result, stack.cell.dataset().classes)
    labels = truth(case, found)
    return {
        "name": case.name,
        "family": case.family,
        "part": case.part,
        "made": case.made,
        "accuracy": " ".join(f"{value:.3f}" for value in found.accuracy),
        "broken": " ".join(str(int(value)) for value in found.broken),
        "true": _joined(fault for fault in FAULTS if labels[fault]),
        "neither": _joined(fault for fault in FAULTS if labels[fault] is None),
        **{diagnosis.ruleset: _joined(diagnosis.verdicts) for diagnosis in said},
    }


def _joined(words: Iterable[str]) -> str:
    return ",".join(words)


def markdown(nets: pd.DataFrame) -> str:
    """The scores of every part as tables."""
    lines = []
    for part in [part for part in ("held", "chosen") if (nets["part"] == part).any()]:
        own = nets[nets["part"] == part]
        lines += [f"\n**{part}**: {len(own)} nets. F1 with its 95 % interval; below, precision and recall.\n"]
        lines += [
            "| fault | nets with it | " + " | ".join(RULESETS) + " |",
            "|---" * (2 + len(RULESETS)) + "|",
        ]
        details = []
        for fault in (*FAULTS, "healthy"):
            scores = [
                score(_truth(own, fault), [fault in v.split(",") for v in own[rules]]) for rules in RULESETS
            ]
            cells = [_interval(one.f1) for one in scores]
            lines.append(f"| {fault} | {scores[0].examples} | " + " | ".join(cells) + " |")
            for rules, one in zip(RULESETS, scores, strict=True):
                details.append(
                    f"| {fault} | {rules} | {_interval(one.precision)} | {_interval(one.recall)} |"
                )
        lines += ["", "| fault | ruleset | precision | recall |", "|---|---|---|---|", *details]
        sound = own[(own["true"] == "") & (own["neither"] == "")]
        counts = [
            f"{rules} {sum(bool({'vanishing', 'exploding'} & set(v.split(','))) for v in sound[rules])}"
            for rules in RULESETS
        ]
        lines += [f"\nOf {len(sound)} healthy nets called vanishing or exploding: {', '.join(counts)}.\n"]
    return "\n".join(lines)


def _truth(nets: pd.DataFrame, fault: str) -> Sequence[bool | None]:
    """Each net's truth about a fault; `healthy` is no fault at all, and unknown where one may hold or not."""
    if fault == "healthy":
        pairs = zip(nets["true"], nets["neither"], strict=True)
        return [False if true else None if neither else True for true, neither in pairs]
    pairs = zip(nets["true"], nets["neither"], strict=True)
    return [None if fault in neither.split(",") else fault in true.split(",") for true, neither in pairs]


def _interval(values: tuple[float, float, float]) -> str:
    value, low, high = values
    return "-" if value != value else f"{value:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
