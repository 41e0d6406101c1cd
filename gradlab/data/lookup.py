"""From the text of `--data` to a Dataset, its canonical name and its digest.

Nothing heavy is imported before it is needed: names, descriptions and digests cost neither NumPy nor pandas.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gradlab.base.errors import ConfigError, DataError, Problem, nearest, unknown
from gradlab.base.grammar import format_number, parse_item
from gradlab.base.own import Own, load_own
from gradlab.base.registry import OWN, Chosen
from gradlab.data.dataset import AUTO, Dataset, Samples
from gradlab.data.openml import canonical_openml, load_openml
from gradlab.data.registry import DATASETS, RECIPE_VERSION, Definition, parse_parameters

ENDINGS = (".csv", ".parquet", ".npz")
READABLE = "a file or folder that you may read"
LARGEST = 1e8
"""Numbers in a drawn data set."""
OTHERS = {
    "FILE": "a user's .csv, .parquet (extra `parquet`) or .npz file; --target names the class, or what to predict",
    "FOLDER": "IDX files as MNIST and Fashion-MNIST are distributed, gzipped or not",
    "openml:NAME": "a data set of openml.org, by scikit-learn's fetcher and cache; also :version=N",
    OWN: "a function of a user's that returns (X, y): rows of numbers and their targets",
}
"""What a name may be besides a built-in."""
ALLOWED = f"{', '.join(DATASETS)}, a {'|'.join(ENDINGS)} file, a folder of IDX files, openml:NAME, or {OWN}"


def names() -> list[str]:
    """The built-in names, in the registry's order."""
    return list(DATASETS)


def load(name: str, target: str = "", where: str = "--data", task: str = AUTO) -> Dataset:
    """The data set written as `name`, split and standardised (gradlab.data.split).

    name:   a built-in (`digits`, `moons:noise=0.1`), a .csv, .parquet or .npz file, a folder of IDX files,
            `openml:NAME`, or `package.module:Attr`, a function that returns (X, y)
    target: the column (or array) of a file that holds the class, or the columns to predict, separated by commas; may
            name another target of an OpenML set; empty for the others
    where:  what to call the place in an error
    task:   what the targets are (`gradlab.data.dataset.TASKS`); `auto` leaves it to them

    An IDX folder with a test part, and mnist1d, keep the split they are distributed with. Raises ConfigError
    for an unknown name or parameter, DataError for data that cannot be learned as the task.
    """
    source = _source(name, where)
    if source.kind in ("built-in", "folder") and task not in (AUTO, "classification"):
        message = f"it has classes, and --task {task} was given too"
        allowed = "--task with a .csv, .parquet or .npz file, openml:NAME or a function of your own"
        raise DataError(Problem(f"{where} {source.text}", message, allowed, "leave --task out"))
    if target and not takes_target(name):
        raise DataError(
            Problem(
                f"{where} {source.text}",
                f"it has its own classes, and --target {target!r} was given too",
                "--target with a .csv, .parquet or .npz file or openml:NAME",
                "leave --target out",
            )
        )
    if source.own is not None:
        from gradlab.data.own import digest_of, load_table

        table = load_table(source.own, task)
        identity = digest_of(table, source.own)
    else:
        identity = digest(name, target, where, task)
        table = _table(source, target, where, task)
    from gradlab.data.split import prepare

    return prepare(table, source.text, identity)


def canonical(name: str, where: str = "--data") -> str:
    """The canonical text of `name`: a built-in with what differs from the defaults, a path as given.

    Raises ConfigError for an unknown name or parameter, DataError for a file that does not exist.
    """
    return _source(name, where).text


def takes_target(name: str) -> bool:
    """Whether `--target` has a meaning for this data set: a file with columns, or OpenML."""
    return name.startswith("openml:") or Path(name).suffix.lower() in ENDINGS


def digest(name: str, target: str = "", where: str = "--data", task: str = AUTO) -> str:
    """sha256 (hex) of what defines the data, without loading it.

    A built-in: its canonical text and the version of the recipes. A file: its bytes. A folder: its IDX files'
    names and bytes. OpenML: its text (a named version never changes; the active one may). A user's function: its
    source and what it returns, so it is called. The target counts everywhere, and so does a task that is given.
    """
    source = _source(name, where)
    if source.own is not None:
        from gradlab.data.own import digest_of, load_table

        return digest_of(load_table(source.own, task), source.own)
    given = "" if task == AUTO else f", task {task}"
    hashed = hashlib.sha256(f"recipe {RECIPE_VERSION}, target {target}{given}\n".encode())
    try:
        if source.kind == "file":
            hashed.update(_file_hash(Path(source.text)))
        elif source.kind == "folder":
            from gradlab.data.idx import idx_files

            for role, path in sorted(idx_files(Path(source.text), source.text).items()):
                hashed.update(role.encode() + _file_hash(path))
        else:
            hashed.update(source.text.encode())
    except OSError as error:
        raise DataError(
            Problem(source.text, f"it cannot be read: {error.strerror or error}", READABLE)
        ) from error
    return hashed.hexdigest()


def check_batch(dataset: Dataset, batch_size: int, where: str = "--batch-size") -> None:
    """Raise DataError when the training part has fewer rows than one batch."""
    rows = len(dataset.y_train)
    if batch_size > rows:
        raise DataError(
            Problem(
                where,
                f"{batch_size} is more than the {rows} training rows of {dataset.name} "
                f"({rows + len(dataset.y_val)} rows in all)",
                f"at most {rows}",
                f"use {where} {rows} or less, or more data",
            )
        )


def changed(name: str) -> DataError:
    """The error for a data set that is not what it was when its digest was taken."""
    hint = "start the command again"
    if _own(name, "--data") is not None:
        hint += "; a function must return the same data in every call"
    return DataError(Problem(name, "it has changed since this was planned", hint=hint))


@dataclass(frozen=True)
class _Source:
    """What a name stands for. text: canonical; chosen: the built-in; own: the user's function."""

    kind: Literal["built-in", "openml", "file", "folder", "own"]
    text: str
    chosen: Chosen[Definition] | None = None
    own: Own | None = None


def _source(text: str, where: str) -> _Source:
    text = text.strip()
    head = text.partition(":")[0]
    if head == "openml":
        return _Source("openml", canonical_openml(text, where))
    if head in DATASETS:
        return _built_in(text, where)
    own = _own(text, where)
    if own is not None:
        return _Source("own", own.text, own=own)
    try:
        return _file_or_folder(text, where)
    except OSError as error:
        raise DataError(
            Problem(f"{where} {text}", f"it cannot be read: {error.strerror or error}", READABLE)
        ) from error


def _own(text: str, where: str) -> Own | None:
    """The function that a text names; None where it is no `package.module:Attr`, but may be a file."""
    path = Path(text)
    if ":" not in text or "/" in text or path.suffix.lower() in ENDINGS or path.exists():
        return None
    item = parse_item(text, where)
    return None if item.attribute is None else load_own(item, where)


def _file_or_folder(text: str, where: str) -> _Source:
    path = Path(text)
    known_ending = path.suffix.lower() in ENDINGS
    if not text or not (known_ending or "/" in text or path.exists()):
        name = text.partition(":")[0]
        raise ConfigError(unknown(where, DATASETS.kind, name, [*names(), "openml"], ALLOWED))
    if path.is_dir():
        return _Source("folder", str(path))
    if not path.exists():
        folder, close = path.parent, None
        if folder.is_dir():
            close = nearest(path.name, [entry.name for entry in folder.iterdir()])
        raise DataError(
            Problem(f"{where} {text}", "there is no such file or folder", "one that exists", close)
        )
    if not known_ending or not path.is_file():
        what = f"a {path.suffix} file" if path.suffix else "a file of this kind"
        raise DataError(Problem(f"{where} {text}", f"{what} is not supported", ", ".join(ENDINGS)))
    return _Source("file", str(path))


def _built_in(text: str, where: str) -> _Source:
    name, *parts = text.split(":")
    chosen = DATASETS.choose(parse_parameters(name, parts, where), where)
    values = chosen.values
    classes, samples = float(values.get("classes", 2)), float(values.get("samples", 4))
    if samples < 2 * classes:
        raise ConfigError(
            Problem(
                where,
                f"{format_number(samples)} samples are too few for {format_number(classes)} classes",
                f"samples >= {format_number(2 * classes)}, two rows of each class",
            )
        )
    numbers = samples * float(values.get("features", 2))
    if numbers > LARGEST:
        raise ConfigError(
            Problem(
                where, f"samples x features is {numbers:.3g}", f"at most {LARGEST:.3g}, which takes 0.8 GB"
            )
        )
    return _Source("built-in", chosen.text, chosen)


def _table(source: _Source, target: str, where: str, task: str) -> Samples:
    if source.kind == "openml":
        return load_openml(source.text, target, where, task)
    if source.kind == "file":
        from gradlab.data.files import load_file

        return load_file(Path(source.text), target, source.text, task)
    if source.kind == "folder":
        from gradlab.data.idx import load_folder

        return load_folder(Path(source.text), source.text)
    assert source.chosen is not None
    return source.chosen.entry.recipe(source.chosen.values)


def _file_hash(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
