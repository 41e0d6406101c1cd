"""From the text of `--data` to a Dataset, its canonical name and its digest.

Nothing heavy is imported before it is needed: names, descriptions and digests cost neither NumPy nor pandas.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Literal

from gradlab.base.errors import ConfigError, DataError, Problem, nearest, unknown
from gradlab.base.grammar import format_number, names_attribute, parse_item
from gradlab.base.own import Own, load_own
from gradlab.base.registry import OWN, Chosen
from gradlab.base.user_file import READABLE, open_file
from gradlab.data import cache
from gradlab.data.dataset import AUTO, Dataset, Samples
from gradlab.data.dialect import Dialect, parse_dialect
from gradlab.data.openml import canonical_openml, load_openml
from gradlab.data.registry import DATASETS, RECIPE_VERSION, Definition, parse_parameters

ENDINGS = (".csv", ".parquet", ".npz")
LARGEST = 1e8
"""Numbers in a drawn data set."""
OTHERS = {
    "FILE": "a user's .csv, .parquet (extra `parquet`) or .npz file; --target names the class, or what to predict; "
    "--csv says how a .csv file is written where not with commas",
    "FOLDER": "IDX files as MNIST and Fashion-MNIST are distributed, gzipped or not",
    "openml:NAME": "a data set of openml.org, by scikit-learn's fetcher and cache; also :version=N",
    OWN: "a function of a user's that returns (X, y): rows of numbers and their targets",
}
"""What a name may be besides a built-in."""
ALLOWED = f"{', '.join(DATASETS)}, a {'|'.join(ENDINGS)} file, a folder of IDX files, openml:NAME, or {OWN}"


def names() -> list[str]:
    """The built-in names, in the registry's order."""
    return list(DATASETS)


def load(
    name: str, target: str = "", where: str = "--data", task: str = AUTO, csv: str = "", known: str = ""
) -> Dataset:
    """The data set written as `name`, split and standardised (gradlab.data.split).

    name:   a built-in (`digits`, `moons:noise=0.1`), a .csv, .parquet or .npz file, a folder of IDX files,
            `openml:NAME`, or `package.module:Attr`, a function that returns (X, y)
    target: the column (or array) of a file that holds the class, or the columns to predict, separated by commas; may
            name another target of an OpenML set; empty for the others
    where:  what to call the place in an error
    task:   what the targets are (`gradlab.data.dataset.TASKS`); `auto` leaves it to them
    csv:    how a CSV file is written where that is not with commas (`gradlab.data.dialect`)
    known:  its digest, where it is known: then a file that was read before need not be looked at again, and a user's
            function is called once; else twice, to see whether it returns the same

    An IDX folder with a test part, and mnist1d, keep the split they are distributed with. Raises ConfigError
    for an unknown name or parameter, DataError for data that cannot be learned as the task.
    """
    source = _source(name, where)
    dialect = _dialect(source, csv, where)
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
    if source.kind in ("file", "folder"):
        return _from_files(source, target, task, dialect, known)
    if source.own is not None:
        from gradlab.data.own import digest_of, load_table

        table = load_table(source.own, task)
        identity = digest_of(table, source.own)
        if not known and digest_of(load_table(source.own, task), source.own) != identity:
            raise changed(name)
    else:
        identity = digest(name, target, where, task, csv)
        table = _table(source, target, where, task)
    from gradlab.data.split import prepare

    return prepare(table, source.text, identity)


def _from_files(source: _Source, target: str, task: str, dialect: Dialect, known: str) -> Dataset:
    """The data set of a file or a folder: from the cache, or read, and kept there where it is large."""
    from gradlab.data.split import of_kept, prepare

    if known and (kept := cache.find(known)):
        return of_kept(kept, source.text)
    path, asked = Path(source.text), _asked(target, task, dialect)
    with _reading(source.text):
        files = _files(source)
        size = sum(file.stat().st_size for file in files.values())
    if cache.holds(size) and (kept := cache.find(_identity(source, asked))):
        return of_kept(kept, source.text)
    if source.kind == "folder":
        from gradlab.data.idx import load_folder

        identity, table = _identity(source, asked), load_folder(path, source.text)
    else:
        from gradlab.data.files import load_file

        table, read = load_file(path, target, source.text, task, dialect)
        identity = sha256(asked + read).hexdigest()
    return prepare(table, source.text, identity, size)


def canonical(name: str, where: str = "--data") -> str:
    """The canonical text of `name`: a built-in with what differs from the defaults, a path as given.

    Raises ConfigError for an unknown name or parameter, DataError for a file that does not exist.
    """
    return _source(name, where).text


def takes_target(name: str) -> bool:
    """Whether `--target` has a meaning for this data set: a file with columns, or OpenML."""
    return name.startswith("openml:") or Path(name).suffix.lower() in ENDINGS


def canonical_csv(text: str, where: str = "--csv") -> str:
    """The canonical text of `--csv`: what differs from the usual way. Raises ConfigError."""
    return parse_dialect(text, where).text


def digest(name: str, target: str = "", where: str = "--data", task: str = AUTO, csv: str = "") -> str:
    """sha256 (hex) of what defines the data, without loading it.

    A built-in: its canonical text and the version of the recipes. A file: its bytes. A folder: its IDX files'
    names and bytes. OpenML: its text (a named version never changes; the active one may). A user's function: its
    source and what it returns, so it is called. The target counts everywhere, and so does a task that is given, or
    a way of writing CSV that is not the usual one.
    """
    source = _source(name, where)
    if source.own is not None:
        from gradlab.data.own import digest_of, load_table

        return digest_of(load_table(source.own, task), source.own)
    return _identity(source, _asked(target, task, _dialect(source, csv, where)))


def _asked(target: str, task: str, dialect: Dialect) -> bytes:
    """How the data are to be read, as digests begin."""
    given = "" if task == AUTO else f", task {task}"
    if dialect.text:
        given += f", csv {dialect.text}"
    return f"recipe {RECIPE_VERSION}, target {target}{given}\n".encode()


def _identity(source: _Source, asked: bytes) -> str:
    """The digest of what no user's function makes. Raises DataError for a file that cannot be read."""
    hashed = sha256(asked)
    if source.kind not in ("file", "folder"):
        hashed.update(source.text.encode())
    else:
        for role, path in sorted(_files(source).items()):
            with _reading(source.text if source.kind == "file" else f"{source.text}: {path.name}"):
                hashed.update(role.encode() + _file_hash(path))
    return hashed.hexdigest()


def _files(source: _Source) -> dict[str, Path]:
    """The files of a source by their role; that of a single file is empty."""
    if source.kind == "file":
        return {"": Path(source.text)}
    from gradlab.data.idx import idx_files

    return idx_files(Path(source.text), source.text)


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """Around what opens a file: an OSError becomes a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(Problem(place, f"it cannot be read: {error.strerror or error}", READABLE)) from error


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
    if is_code(name):
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
    try:
        if is_code(text):
            own = load_own(parse_item(text, where), where)
            return _Source("own", own.text, own=own)
        return _file_or_folder(text, where)
    except OSError as error:
        raise DataError(
            Problem(f"{where} {text}", f"it cannot be read: {error.strerror or error}", READABLE)
        ) from error


def is_code(text: str) -> bool:
    """Whether a data set's name is a function of a user's, `package.module:Attr`, which reading it would import."""
    text = text.strip()
    path, head = Path(text), text.partition(":")[0]
    known = head == "openml" or head in DATASETS
    if known or not names_attribute(text) or "/" in text or path.suffix.lower() in ENDINGS:
        return False
    try:
        return not path.exists()
    except OSError:  # no name of a file
        return True


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
    if not known_ending:
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


def _dialect(source: _Source, csv: str, where: str) -> Dialect:
    """How the file is written. Raises DataError where that is said of something else than a CSV file."""
    dialect = parse_dialect(csv)
    if dialect.text and not (source.kind == "file" and Path(source.text).suffix.lower() == ".csv"):
        message = f"it is no CSV file, and --csv {dialect.text!r} was given too"
        raise DataError(
            Problem(f"{where} {source.text}", message, "--csv with a .csv file", "leave --csv out")
        )
    return dialect


def _table(source: _Source, target: str, where: str, task: str) -> Samples:
    if source.kind == "openml":
        return load_openml(source.text, target, where, task)
    assert source.chosen is not None
    return source.chosen.entry.recipe(source.chosen.values)


def _file_hash(path: Path) -> bytes:
    with open_file(path) as stream:
        return file_digest(stream, "sha256").digest()
