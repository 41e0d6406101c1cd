"""python -m benchmarks.detectors: train the labelled nets, judge them by every ruleset, write the tables.

Training takes some ten minutes on a free core; what is trained is kept, and an interrupted run goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from benchmarks.detectors.cases import all_cases
from benchmarks.detectors.judging import judged
from benchmarks.detectors.scoring import Score, score
from benchmarks.detectors.truth import FAULTS
from gradlab.analyse.rulesets import RULESETS

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


def markdown(nets: pd.DataFrame) -> str:
    """The scores of every part as tables, and F1 of what is new in the second round."""
    held = nets[nets["part"] == "held"]
    parts = {"held": held, "chosen": nets[nets["part"] == "chosen"]}
    lines = []
    for name, own in parts.items():
        if not len(own):
            continue
        lines += [f"\n**{name}**: {len(own)} nets. F1 with its 95 % interval; below, precision and recall.\n"]
        lines += _f1_table(own)
        lines += ["", "| fault | ruleset | precision | recall |", "|---|---|---|---|"]
        for fault in (*FAULTS, "healthy"):
            for rules in RULESETS:
                one = _score(own, fault, rules)
                lines.append(f"| {fault} | {rules} | {_interval(one.precision)} | {_interval(one.recall)} |")
        lines.append(f"\n{_false_alarms(own)}\n")
    new = held[held["round"] == 2]
    if len(new):
        lines += [f"\n**held, second round alone**: {len(new)} nets, F1.\n", *_f1_table(new)]
        lines.append(f"\n{_false_alarms(new)}\n")
    return "\n".join(lines)


def _f1_table(own: pd.DataFrame) -> list[str]:
    head = " | ".join(RULESETS)
    lines = [f"| fault | nets with it | {head} |", "|---" * (2 + len(RULESETS)) + "|"]
    for fault in (*FAULTS, "healthy"):
        scores = [_score(own, fault, rules) for rules in RULESETS]
        cells = " | ".join(_interval(one.f1) for one in scores)
        lines.append(f"| {fault} | {scores[0].examples} | {cells} |")
    return lines


def _score(own: pd.DataFrame, fault: str, rules: str) -> Score:
    return score(_truth(own, fault), [fault in verdicts.split(",") for verdicts in own[rules]])


def _false_alarms(own: pd.DataFrame) -> str:
    sound = own[(own["true"] == "") & (own["neither"] == "")]
    counts = [
        f"{rules} {sum(bool({'vanishing', 'exploding'} & set(v.split(','))) for v in sound[rules])}"
        for rules in RULESETS
    ]
    return f"Of {len(sound)} healthy nets called vanishing or exploding: {', '.join(counts)}."


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
