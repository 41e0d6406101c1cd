"""Results folders whose tables, manifest, journal or configuration are damaged, forged or not theirs."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from fuzz.case import Case, Prepare, file, tiny
from fuzz.configurations import text as toml_text
from fuzz.flags import NET
from fuzz.values import NUMBERS, TEXTS, damaged, hostile, near

from gradlab.analyse.rulesets import RULESETS
from gradlab.cli.main import COMMANDS, main
from gradlab.report.build import FORMATS
from gradlab.store.results import CONFIG, JOURNAL, MANIFEST

MADE: dict[str, list[str]] = {
    "run": ["run", *tiny(), "--histograms", "--jacobian"],
    "more": ["run", *tiny(), "--histograms", "--jacobian", "--first-seed", "2"],
    "compare": ["compare", *tiny(activation="relu,tanh", lr="0.1,0.2", seeds="1")],
    "parquet": ["run", *tiny(activation="relu"), "--tables", "parquet"],
    "diverged": ["run", *tiny(lr="1e18", activation="relu", save_weights=None)],
    "watch": [
        "watch",
        "net:Net",
        "--data",
        "moons:samples=40",
        "--batch-size",
        "8",
        "--steps",
        "2",
        "--seeds",
        "2",
    ],
}
"""The command that makes each of the folders."""
JSONS: list[Any] = [
    None, True, 0, -1, 1.5, 1e308, float("nan"), float("inf"), 10**30, "", "x", [], {},
    [[]], [None], {"a": None}, ["x"] * 50,
    {"": {}}, "1", "\0", "../up", "/", "x" * 5000, *(text for text in TEXTS if text.isprintable()),
]  # fmt: skip
made_in = Path("templates")
"""Where `make_templates` has put the folders; the worker sets it."""


def make_templates(folder: Path) -> None:
    """The folders that cases start from, each made by its command."""
    folder.mkdir(parents=True)
    here = Path.cwd()
    os.chdir(folder)
    try:
        file("net.py", NET)(folder)
        for name, argv in MADE.items():
            with redirect_stdout(io.StringIO()):
                assert main([*argv, "--out", name, "--quiet"]) == 0, name
    finally:
        os.chdir(here)


def make(r: Random) -> Case:
    """A command on a folder that is not as gradlab left it."""
    name = r.choice(list(MADE))
    prepare: list[Prepare] = [file("net.py", NET), copied(name), copied("more", "more")]
    prepare += [_change(r) for _ in range(r.choice([0, 1, 1, 1, 1, 2, 3]))]
    argv, writes = _command(r, name)
    if r.random() < 0.3:
        argv.append("--json")
    return Case(argv, prepare, writes)


def copied(name: str, to: str = "o") -> Prepare:
    """Puts one of the folders there."""
    return lambda here: shutil.copytree(made_in / name, here / to) and None


def _command(r: Random, name: str) -> tuple[list[str], tuple[str, ...]]:
    drawn = r.random()
    if drawn < 0.35:
        path = r.choice(
            [
                "o",
                "o",
                "o",
                "o/",
                "o/layers.csv",
                "o/steps.csv",
                f"o/{MANIFEST}",
                f"o/{JOURNAL}",
                "o/layers.parquet",
            ]
        )
        rules = r.choice([[], ["--ruleset", r.choice([*RULESETS, "all"])]])
        tried = r.choice([[], [], ["--try"], ["--try", "--cell", hostile(r)]])
        return ["diagnose", path, *rules, *tried], ("o",) if tried else ()
    if drawn < 0.65:
        forms = r.sample([each for each in FORMATS if each not in ("png", "pdf")], 2)
        forms += ["png"] if r.random() < 0.05 else []
        folders = r.choice([["o"], ["o"], ["o", "o"], ["o", "none"]])
        out = r.choice([[], ["--out", "drawn"], ["--out", "net.py"]])
        return ["report", *folders, "--format", ",".join(forms), *out], tuple(out[1:] or ["o", "results"])
    if drawn < 0.75:
        others = [
            each
            for each in COMMANDS
            if each not in ("run", "compare", "watch", "report", "diagnose", "reproduce")
        ]
        joined = r.choice([[], ["more"], ["more"]])
        return [r.choice(others), "o", *joined, *r.choice([[], ["--out", "new"]])], ("new", "results")
    more = r.choice(
        [
            [],
            [],
            ["--force"],
            ["--report"],
            ["--seeds", "3"],
            ["--lr", "0.1,0.2,0.3"],
            ["--save-weights"],
            ["--fix"],
        ]
    )
    again = [*MADE[name]]
    for flag, text in zip(more[::2], more[1::2], strict=False):
        if flag in again:
            again[again.index(flag) + 1] = text
            more = []
    return [*again, *more, "--out", "o"], ("o",)


def _change(r: Random) -> Prepare:
    """One change of one file of the folder `o`, or a file that does not belong there."""
    seed = r.getrandbits(64)

    def change(here: Path) -> None:  # which files there are is known only then
        inner = Random(seed)
        files = sorted(path for path in (here / "o").rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            return
        weights = [
            4 if path.name in (MANIFEST, CONFIG, "plan.json") else 2 if path.suffix in (".csv", ".npz") else 1
            for path in files
        ]
        path = inner.choices(files, weights)[0]
        drawn = inner.random()
        if drawn < 0.25:
            _put(inner, path)
        elif drawn < 0.45:
            path.write_bytes(damaged(inner, path.read_bytes()))
        elif path.suffix in CHANGES:
            CHANGES[path.suffix](inner, path)

    return change


def _put(r: Random, path: Path) -> None:
    """Something else in a file's place, or beside it."""
    kind = r.choice(
        ["gone", "folder", "loop", "nowhere", "pipe", "outside", "sealed", "other", "beside", "closed"]
    )
    if kind == "sealed":
        path.chmod(0)
        return
    if kind == "beside":
        name = r.choice(
            [
                "new",
                "layers.parquet",
                "summary.csv",
                "failures.csv",
                "report.html",
                "x.part",
                ".x.1.part",
                "lock",
            ]
        )
        path = path.with_name(name)
        if not path.exists():
            path.write_bytes(hostile(r).encode("utf-8", "surrogateescape"))
        return
    other = r.choice([each for each in path.parent.iterdir() if each.is_file()]).read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "closed":
        path.mkdir()
        (path / "inside").write_bytes(b"")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "nowhere":
        path.symlink_to("/nowhere/at/all")
    elif kind == "outside":
        outside = _root(path) / "outside.txt"
        outside.write_text("keep")
        path.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "other":
        path.write_bytes(other)


def _root(path: Path) -> Path:
    """The working directory of the case: where the folder `o` is."""
    while path.name != "o":
        path = path.parent
    return path.parent


def _change_csv(r: Random, path: Path) -> None:
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8", errors="replace"))))
    if not rows or not rows[0]:
        return
    column, width = r.randrange(len(rows[0])), len(rows[0])
    kind = r.choice(
        [
            "cell",
            "cell",
            "cell",
            "column",
            "drop",
            "rename",
            "twice",
            "swap",
            "add",
            "rows",
            "shuffle",
            "long",
            "none",
            "repeat",
        ]
    )
    text = r.choice([*NUMBERS, *TEXTS])
    if kind == "cell":
        for _ in range(r.randint(1, 4)):
            row = r.choice(rows[1:] or rows)
            row[r.randrange(len(row))] = text
    elif kind == "column":
        for row in rows[1:]:
            row[column] = text
    elif kind in ("rename", "twice"):
        rows[0][column] = (
            rows[0][r.randrange(width)] if kind == "twice" else r.choice([text, near(r, rows[0][column])])
        )
    elif kind == "swap":
        for row in rows:
            row[0], row[column] = row[column], row[0]
    elif kind == "rows":
        rows = [rows[0], *r.sample(rows[1:], r.randint(0, len(rows) - 1))]
    elif kind == "shuffle":
        rows = [rows[0], *r.sample(rows[1:], len(rows) - 1)]
    elif kind == "none":
        rows = rows[:1]
    elif kind == "repeat":
        rows += rows[1:]
    for row in rows:
        if kind == "drop":
            del row[column]
        elif kind == "add":
            row.insert(column, text if row is rows[0] else r.choice([*NUMBERS, *TEXTS]))
        elif kind == "long" and row is not rows[0] and r.random() < 0.3:
            row.append(text)
    made = io.StringIO()
    csv.writer(made, lineterminator="\n").writerows(rows)
    path.write_bytes(made.getvalue().encode("utf-8", "surrogateescape"))


def _change_json(r: Random, path: Path) -> None:
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in (
            list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        ):
            places.append((value, key))
            walk(value[key])

    walk(document)
    for _ in range(r.randint(1, 3)):
        if not places:
            break
        holder, key = r.choice(
            [place for place in places if r.random() < 0.3 or place[0] is document] or places
        )
        change = r.choice(["value", "value", "value", "delete", "rename", "wrap"])
        try:
            if change == "value":
                holder[key] = r.choice(JSONS)
            elif change == "wrap":
                holder[key] = r.choice([[holder[key]], {"a": holder[key]}, str(holder[key])])
            elif change == "delete":
                del holder[key]
            elif isinstance(holder, dict):
                holder[r.choice([near(r, str(key)), hostile(r)])] = holder.pop(key)
        except (KeyError, IndexError):  # an earlier change took it away
            continue
    if r.random() < 0.15:
        document = r.choice(JSONS)
    text = json.dumps(document)
    if r.random() < 0.1:
        deep = r.choice([300, 100_000])
        text = r.choice(
            [
                "[" * deep + "]" * deep,
                '{"a":' * deep + "1" + "}" * deep,
                "9" * 5000,
                f'{{"plan": {"9" * 5000}}}',
            ]
        )
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _change_npz(r: Random, path: Path) -> None:
    try:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception:  # an earlier change damaged it
        return
    name = r.choice(list(arrays))
    array = arrays[name]
    if name == "header" and r.random() < 0.8:
        inner = path.with_name("header.json")
        inner.write_text(str(array), encoding="utf-8")
        _change_json(r, inner)
        arrays[name] = np.array(inner.read_text(encoding="utf-8", errors="replace"))
        inner.unlink()
    else:
        changes: list[Callable[[], Any]] = [
            lambda: np.array([{}], dtype=object),
            lambda: array[..., None],
            lambda: array.reshape(-1),
            lambda: array.astype(str),
            lambda: array.astype(complex) if array.dtype.kind in "fib" else array,
            lambda: np.zeros_like(array) if array.dtype.kind in "fib" else array,
            lambda: np.full(array.shape, np.nan),
            lambda: np.full(array.shape, r.choice([1e308, -1, np.inf])),
            lambda: np.zeros(0),
            lambda: array[:0] if array.ndim else array,
            lambda: array[:-1] if array.ndim else array,
        ]
        arrays[name] = r.choice(changes)()
    if r.random() < 0.2:
        del arrays[r.choice(list(arrays))]
    np.savez(path, **arrays)


def _change_toml(r: Random, path: Path) -> None:
    path.write_bytes(toml_text(r, trains=True).encode("utf-8", "surrogateescape"))


def _change_parquet(r: Random, path: Path) -> None:
    try:
        frame = pd.read_parquet(path)
    except Exception:  # an earlier change damaged it
        return
    column = r.choice(list(frame.columns))
    kind = r.choice(["drop", "text", "list", "number", "rows", "rename", "null"])
    if kind == "drop":
        frame = frame.drop(columns=column)
    elif kind == "rows":
        frame = frame.sample(frac=r.random(), random_state=1)
    elif kind == "rename":
        frame = frame.rename(columns={column: near(r, column).replace("\0", "") + "x"})
    else:
        filled = {
            "text": r.choice(TEXTS[:3]),
            "list": [1, 2],
            "number": r.choice([-1, 1e308, float("nan")]),
            "null": None,
        }[kind]
        frame[column] = pd.Series([filled] * len(frame), index=frame.index)
    frame.to_parquet(path)


CHANGES: dict[str, Callable[[Random, Path], None]] = {
    ".csv": _change_csv,
    ".json": _change_json,
    ".npz": _change_npz,
    ".toml": _change_toml,
    ".parquet": _change_parquet,
}
