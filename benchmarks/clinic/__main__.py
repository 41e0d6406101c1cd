"""How often a diagnosis of other people's programs is right.

    python -m benchmarks.clinic [--part chosen|held|all] [--only NAME] [--workers N]

trains every program in its forms with three seeds, watched by one recorder, and prints what each is called.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor

from benchmarks.clinic.judging import Judged, every, judged, part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("chosen", "held", "all"), default="chosen")
    parser.add_argument("--only", default="")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--text", action="store_true")
    asked = parser.parse_args()
    programs = {
        name: program
        for name, program in every().items()
        if asked.part in ("all", part(name)) and asked.only in name
    }
    forms = [
        (name, form)
        for name, program in programs.items()
        for form in (("faulty", "mended") if program.fault else ("works",))
    ]
    with ProcessPoolExecutor(asked.workers) as pool:
        for found in pool.map(judged, *zip(*forms, strict=True)):
            show(found, programs[found.name].accepted, programs[found.name].cause, asked.text)


def show(found: Judged, accepted: frozenset[str], cause: frozenset[str], text: bool) -> None:
    ours = found.words["gradlab"]
    if found.form == "faulty":
        right = sum(bool(accepted & set(words)) for words in ours)
        named = sum(bool(cause & set(words)) for words in ours)
        mark = f"{'ok' if right == 3 else 'MISS'} {right}{named}"
    else:
        well = sum(words == ["healthy"] for words in ours)
        mark = f"{'ok' if well == 3 else 'ALARM' if any(set(w) - {'healthy', 'undecided'} for w in ours) else 'open'} {well}"
    said = " | ".join(",".join(words) for words in ours)
    print(f"{mark:8} {found.name:34} {found.form:7} {said}   [{','.join(sorted(accepted))}]", flush=True)
    if text:
        print(found.text)


if __name__ == "__main__":
    main()
