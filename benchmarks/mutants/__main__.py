"""python -m benchmarks.mutants: which small mistakes does the fast suite notice?

Draws mutants, as many of every area, puts each into a copy of the package and runs the fast tests that reach its line.
The first run measures which test reaches which line (ten minutes on a free core); an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.mutants.areas import AREAS, files_of
from benchmarks.mutants.equivalent import reason_for
from benchmarks.mutants.mutations import Mutant, changed_line, mutants_of, mutated
from benchmarks.mutants.trial import Copy, New, preload
from benchmarks.mutants.which_tests import WhichTests, measure

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=100, help="mutants, as many of every area")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws others")
    parser.add_argument("--area", choices=AREAS, action="append", help="these areas alone; may be repeated")
    parser.add_argument("--named", action="store_true", help="the hand-picked mutants instead of a sample")
    parser.add_argument("--only", default="", help="only mutants whose name contains this")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--most", type=float, default=float("inf"), help="seconds of tests for one mutant")
    parser.add_argument("--known", action="store_true", help="no tests that are new since the measurement")
    parser.add_argument(
        "--keep", type=Path, default=Path("results/mutants"), help="folder of what was measured"
    )
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="begin no further mutant after these"
    )
    chosen = parser.parse_args()
    keep = chosen.keep.resolve()
    if not (keep / "map" / "hashes.json").exists():
        measure(ROOT, keep / "map")
    preload()
    which = WhichTests(keep / "map")
    if chosen.named:
        raise SystemExit(_named(which, keep, chosen.only))
    areas = chosen.area or AREAS
    drawn = [one for one in draw(chosen.sample, chosen.seed) if one.area in areas and chosen.only in one.name]
    results = keep / f"seed-{chosen.seed}.jsonl"
    done = {row["name"] for row in _rows(results)}
    todo = [one for one in drawn if one.name not in done]
    end = time.monotonic() + 60 * chosen.minutes
    children = []
    for index in range(chosen.processes):
        child = os.fork()
        if child == 0:
            try:
                _work(todo[index :: chosen.processes], which, keep / f"copy-{index}", results, end, chosen)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    print(table(_rows(results)))


def draw(number: int, seed: int) -> list[Mutant]:
    """As many mutants of every area, drawn without replacement, the areas in turn so that a part is a sample too."""
    dice = random.Random(seed)
    piles = []
    for area in AREAS:
        every = [mutant for file in files_of(area, ROOT) for mutant in mutants_of(area, file, ROOT)]
        piles.append(dice.sample(every, min(len(every), -(-number // len(AREAS)))))
    return [pile[turn] for turn in range(max(map(len, piles))) for pile in piles if turn < len(pile)][:number]


def _work(
    todo: Sequence[Mutant],
    which: WhichTests,
    place: Path,
    results: Path,
    end: float,
    chosen: argparse.Namespace,
) -> None:
    copy = Copy(ROOT, place)
    changed = set() if chosen.known else which.changed_tests(place)
    for mutant in todo:
        if time.monotonic() > end:
            return
        source = (place / mutant.file).read_text(encoding="utf-8")
        text = mutated(source, mutant)
        before, after = changed_line(source, text)
        reason = reason_for(mutant.file, before, after)
        row = {"name": mutant.name, **asdict(mutant), "before": before, "after": after}
        if reason:
            row |= {"killed": False, "by": f"equivalent: {reason}", "seconds": 0.0}
        else:
            tests = which.of(mutant.file, mutant.line, ROOT, mutant.area, chosen.most)
            expected = sum(which.seconds.get(test, 0.0) for test in tests)
            outcome = copy.run(mutant.file, text, tests, New(), 60 + 3 * expected)
            beginnings = tuple(sorted(name for name in changed if name.startswith(f"tests/{mutant.area}/")))
            new = New(beginnings, which.known)
            if not outcome.killed and beginnings:
                outcome = copy.run(mutant.file, text, (), new, 120.0)
            row |= asdict(outcome) | {"tests": len(tests)}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        word = "killed by" if row["killed"] else "SURVIVED"
        print(
            f"{mutant.name}: {word} {row['by']} ({row['seconds']:.1f} s)\n  - {before}\n  + {after}",
            flush=True,
        )


def _rows(results: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def table(rows: Sequence[dict[str, object]]) -> str:
    """Killed of those that are not equivalent, by area, as Markdown."""
    lines = ["| area | mutants | equivalent | killed | share |", "|---|---|---|---|---|"]
    for area in [*AREAS, "all"]:
        own = [row for row in rows if area in (row["area"], "all")]
        equivalent = sum(str(row["by"]).startswith("equivalent") for row in own)
        killed = sum(bool(row["killed"]) for row in own)
        if own:
            share = f"{100 * killed / max(1, len(own) - equivalent):.0f} %"
            lines.append(f"| {area} | {len(own)} | {equivalent} | {killed} | {share} |")
    return "\n".join(lines)


def _named(which: WhichTests, keep: Path, only: str) -> int:
    from benchmarks.mutants.named import NAMED

    copy, alive = Copy(ROOT, keep / "copy-named"), 0
    for mutant in NAMED:
        if only in mutant.mistake:
            source = (ROOT / mutant.file).read_text(encoding="utf-8")
            outcome = copy.run(
                mutant.file, source.replace(mutant.old, mutant.new), (), New((mutant.test,)), 300.0
            )
            alive += not outcome.killed
            word = f"killed by {outcome.by}" if outcome.killed else "SURVIVED"
            print(f"{mutant.mistake}: {word} ({outcome.seconds:.1f} s)", flush=True)
    return alive


if __name__ == "__main__":
    main()
