"""How often a diagnosis of other people's programs is right.

    python -m benchmarks.clinic [--part chosen|held|all] [--only NAME] [--workers N] [--text]

trains every program in its forms with three seeds, watched by one recorder, prints what each is called, and follows the
advice where no model's code has to change. `--part all` writes `benchmarks/clinic/programs.csv` and prints the tables
of docs/clinic.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from benchmarks.clinic.judging import SEEDS, Followed, Judged, every, followed, judged, part
from benchmarks.clinic.program import Program
from benchmarks.clinic.scoring import is_mended, tables, write_rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("chosen", "held", "all"), default="chosen")
    parser.add_argument("--only", default="")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--text", action="store_true")
    asked = parser.parse_args()
    programs = {n: p for n, p in every().items() if asked.part in ("all", part(n)) and asked.only in n}
    forms = [
        (n, form) for n, p in programs.items() for form in (("faulty", "mended") if p.fault else ("works",))
    ]
    with ProcessPoolExecutor(asked.workers) as pool:
        found = []
        everybody = asked.part == "all"
        for one in pool.map(judged, *zip(*forms, strict=True), [everybody] * len(forms)):
            found.append(one)
            print(line(one, programs[one.name]), flush=True)
            if asked.text:
                print(one.text, flush=True)
        mechanical = [name for name, program in programs.items() if program.mechanical]
        after = [*pool.map(followed, mechanical)]
    scores = {(one.name, one.form): one.scores for one in found}
    for one in after:
        print(advice_line(one, scores), flush=True)
    if everybody and not asked.only:
        write_rows(found, after, programs)
        print(tables(found, after, programs))


def line(found: Judged, program: Program) -> str:
    """A form of a program: in how many seeds the finding is right, and what was said."""
    ours = found.words["gradlab"]
    if found.form == "faulty":
        right = sum(bool(program.accepted & set(words)) for words in ours)
        named = sum(bool(program.cause & set(words)) for words in ours)
        mark = f"{'ok' if right == len(SEEDS) else 'MISS'} {right}{named}"
    else:
        well = sum(words == ["healthy"] for words in ours)
        alarm = any(set(words) - {"healthy", "undecided"} for words in ours)
        mark = f"{'ALARM' if alarm else 'ok' if well == len(SEEDS) else 'open'} {well}"
    said = " | ".join(",".join(words) for words in ours)
    return f"{mark:8} {found.name:36} {found.form:7} {said}   [{','.join(sorted(program.accepted))}]"


def advice_line(after: Followed, scores: dict[tuple[str, str], Sequence[float]]) -> str:
    mended = is_mended(after, scores[after.name, "faulty"], scores[after.name, "mended"])
    done = " | ".join(
        ", ".join(f"{cure} -> {score:.3g}" for cure, score in zip(cures, values, strict=True))
        for cures, values in zip(after.cures, after.scores, strict=True)
    )
    return f"{'mended' if mended else 'NOT':7} {after.name:36} {done}"


if __name__ == "__main__":
    main()
