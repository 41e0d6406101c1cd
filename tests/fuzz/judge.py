"""What holds of every command, whatever it was given: the faults of one that has ended."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fuzz.case import Case, Ended

CODES = (0, 1, 2, 3, 130)
REFUSED, INTERRUPTED = 2, 130
PREFIXES = ("error: ", "  allowed: ", "  hint: ")
LEFT_OVER = re.compile(r"(^|/)\.[^/]*(\.part|\.new|\.old)(/|$)")
HERE = "w/here"
"""The working directory of a case, in its folder."""


def faults(case: Case, ended: Ended) -> list[str]:
    """In words, what should not have been; empty where all is well."""
    try:
        out, err = ended.out.decode("utf-8"), ended.err.decode("utf-8")
    except UnicodeDecodeError as error:
        return [f"its output is not UTF-8: {error}"]
    return [*_ends(case, ended, out, err), *_says(case, ended, out, err), *_writes(case, ended)]


def _ends(case: Case, ended: Ended, out: str, err: str) -> Iterator[str]:
    if ended.code not in CODES:
        yield f"exit code {ended.code}"
    for words in ("Traceback (most recent call last)", "this is a bug in gradlab"):
        if words in out + err:
            yield f"{words}: {(out + err).partition(words)[2][-600:]}"
    for text, name in ((out, "stdout"), (err, "stderr")):
        odd = sorted(
            {
                f"U+{ord(each):04X}"
                for each in text
                if unicodedata.category(each) == "Cc" and each not in "\n\t"
            }
        )
        if odd:
            yield f"control characters in {name}: {', '.join(odd)}"


def _says(case: Case, ended: Ended, out: str, err: str) -> Iterator[str]:
    """One error where it failed, which says what to do; none where it did not."""
    problems: list[Mapping[str, Any]]
    if {"--help", "-h", "--version"} & {*case.argv} and ended.code == 0:
        return
    if "--json" in case.argv:
        try:
            document = json.loads(out, parse_constant=_refuse) if out else None
        except ValueError as error:
            yield f"stdout is not one JSON document: {error}"
            return
        failed = isinstance(document, dict) and set(document) == {"error"}
        error = document["error"] if failed and isinstance(document, dict) else {}
        problems = error.get("problems") or ([error] if failed else [])
    else:
        lines = err.splitlines()
        first = next((number for number, line in enumerate(lines) if line.startswith("error: ")), len(lines))
        strange = [line for line in lines[first:] if not line.startswith(PREFIXES)]
        if strange:
            yield f"a line after the error that is no part of it: {strange[0]!r}"
        failed = first < len(lines)
        problems = list(_problems(lines[first:]))
    if failed != (ended.code in (1, 2, INTERRUPTED)) and case.process is None:
        yield f"exit code {ended.code} with{'' if failed else 'out'} an error"
    texts = [json.dumps(problem, sort_keys=True) for problem in problems]
    if len(set(texts)) < len(texts):
        yield f"the same error twice: {max(texts, key=texts.count)}"
    if ended.code != INTERRUPTED:
        yield from (
            f"an error without a next step: {text}"
            for text, problem in zip(texts, problems, strict=True)
            if not (problem.get("allowed") or problem.get("hint"))
        )


def _problems(lines: list[str]) -> Iterator[dict[str, str]]:
    found: dict[str, str] = {}
    for line in lines:
        word, _, text = line.strip().partition(": ")
        if word == "error" and found:
            yield found
            found = {}
        found[word] = text
    if found:
        yield found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _writes(case: Case, ended: Ended) -> Iterator[str]:
    """Nothing where it was refused, else what it may; and all that is there is whole."""
    before, after = ended.before, ended.after
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    if ended.code == REFUSED:
        if changed:
            yield f"it was refused, and these changed: {', '.join(changed[:5])}"
        return
    roots = [os.path.normpath(f"{HERE}/{root}") for root in case.writes]
    stray = [
        path
        for path in changed
        if not any(
            path == root or path.startswith(root + "/") or root.startswith(path + "/") for root in roots
        )
    ]
    if stray:
        yield f"it wrote where it should not: {', '.join(stray[:5])}"
    left = [path for path in changed if path in after and LEFT_OVER.search(path)]
    if left and ended.code == 0:
        yield f"left over: {', '.join(left[:5])}"
    if ended.code == 0:
        for path in changed:
            if path.endswith("/manifest.json") and path in after:
                yield from _whole(path, after)


def _whole(path: str, after: Mapping[str, str | bytes]) -> Iterator[str]:
    """Whether a manifest that was written names the files that are there."""
    written = after[path]
    try:
        hashes = json.loads(written)["sha256"]
    except (ValueError, KeyError, TypeError):
        yield f"{path} is no manifest"
        return
    for name, expected in hashes.items():
        content = after.get(os.path.normpath(Path(path).parent / name))
        if not isinstance(content, bytes) or hashlib.sha256(content).hexdigest() != expected:
            yield f"{name} is not what {path} says"
