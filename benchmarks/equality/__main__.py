"""Does a change leave gradlab's numbers alone, to the last bit, and its speed?

    python -m benchmarks.equality BEFORE AFTER [--only NAME] [--renamed OLD=NEW,...] [--speed]

BEFORE and AFTER are checkouts, or git revisions, which the script checks out for the while. The same commands run with
the code of each, in temporary folders. Their tables are compared: file names, columns and their order, rows, and every
number. Cell ids may change; cells are told apart by the order in which they first appear. One line is one table.
`--speed` then times the default comparison: whole commands, in five pairs after one that does not count. Nothing else
should run on the machine meanwhile.

Exit codes: 0 when nothing differs, or texts alone (an advice, the name of a verdict); 1 when anything else differs, a
missing table and a failed command included; 2 when there is nothing to compare.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.equality.sides import COMMANDS, CannotCompare, Side, checkout, smoke_config
from benchmarks.equality.tables import Differences, compare
from benchmarks.speed.pairs import ratios

PAIRS = 5


def checks(
    before: Side, after: Side, name: str, renamed: Mapping[str, str]
) -> Iterator[tuple[str, Differences]]:
    """Run one command with both states of the code; compare each table that either of them wrote."""
    failures = [failure for side in (before, after) if (failure := side.run(name))]
    if failures:
        yield name, Differences(failures)
        return
    tables_before, tables_after = before.tables(name), after.tables(name)
    if not tables_before and not tables_after:
        yield name, Differences(["no table, before or after"])
    for table in sorted({*tables_before, *tables_after}):
        one, other = tables_before.get(table), tables_after.get(table)
        if one is None or other is None:
            yield f"{name}/{table}", Differences([f"written only {'before' if other is None else 'after'}"])
        else:
            yield f"{name}/{table}", compare(one, other, renamed)


def compare_all(before: Side, after: Side, names: Sequence[str], renamed: Mapping[str, str]) -> int:
    """Print a line for every table, then how many differ; the exit code."""
    counts = {"equal": 0, "different": 0, "text differs": 0}
    for name in names:
        for what, found in checks(before, after, name, renamed):
            word = "different" if found.numbers else "text differs" if found.texts else "equal"
            counts[word] += 1
            print(f"{word:12}  {what}", *found.numbers, *found.texts, sep="\n    ", flush=True)
    in_texts = counts["text differs"]
    remark = f" ({in_texts} in texts alone)" if in_texts else ""
    print(f"{counts['equal']} equal, {counts['different'] + in_texts} different{remark}", flush=True)
    return 1 if counts["different"] else 0


def renames(text: str) -> dict[str, str]:
    """`low=bin_low,high=bin_high` as a dictionary."""
    return dict(part.split("=") for part in text.split(","))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", metavar="BEFORE")
    parser.add_argument("after", metavar="AFTER")
    parser.add_argument(
        "--only", choices=COMMANDS, action="append", help="one of the commands; may be repeated"
    )
    parser.add_argument(
        "--renamed", type=renames, default={}, metavar="OLD=NEW,...", help="columns with another name since"
    )
    parser.add_argument("--speed", action="store_true", help="time the default comparison as well")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    wanted = set(arguments.only or COMMANDS)
    if "diagnose" in wanted:
        wanted.add("default")  # whose results it reads
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        trees = [stack.enter_context(checkout(text)) for text in (arguments.before, arguments.after)]
        config = smoke_config(*trees)
        sides = []
        for name, tree in zip(("before", "after"), trees, strict=True):
            (home / name).mkdir()
            sides.append(Side(name, tree, home / name, config))
            sides[-1].check()
        before, after = sides
        names = [name for name in COMMANDS if name in wanted]
        code = compare_all(before, after, names, arguments.renamed)
        if arguments.speed:
            found = ratios(before.default_comparison, after.default_comparison, PAIRS)
            spread = f"{median(found):.3f} ({min(found):.3f} to {max(found):.3f})"
            print(f"default comparison, time after over time before: {spread}, {PAIRS} pairs")
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CannotCompare as error:
        print(error, file=sys.stderr)
        sys.exit(2)
