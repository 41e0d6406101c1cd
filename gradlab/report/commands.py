"""Commands that are worth typing after a result, each complete: with the file, the cell and the flags it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import join, quote, split

from gradlab import config
from gradlab.analyse.advice import in_parts
from gradlab.analyse.origin import is_users, is_watched
from gradlab.base.errors import UserError
from gradlab.base.grammar import format_number
from gradlab.base.places import short_path
from gradlab.config.files import trust_flag
from gradlab.config.keys import BY_FLAG
from gradlab.store.results import CONFIG


def advised(advice: object, cell: Mapping[str, object], folder: Path | None, varying: Iterable[str]) -> str:
    """The command that follows an advice of summary.csv; "" where it names none, or no configuration is there.

    cell: its columns; folder: the results, with their config.toml; varying: the columns in which its cells differ
    """
    flags = in_parts(advice)[0] if isinstance(advice, str) else ""
    return again(cell, folder, varying, flags) if flags else ""


def again(cell: Mapping[str, object], folder: Path | None, varying: Iterable[str], flags: str = "") -> str:
    """The command that trains one cell of a results folder again, with other flags; "" where nothing says how."""
    if folder is None or not (folder / CONFIG).is_file():
        return ""
    path = folder / CONFIG
    named = "run"
    if is_users(cell):
        named = _watch(cell, path) if is_watched(cell) else ""
    if not named:
        return ""
    given = _flags_of(cell, varying) | _pairs(flags)
    if "nan" in given.values():  # a key that this cell leaves unset has no flag that says so
        return ""
    typed = "".join(f" {flag} {quote(value)}" for flag, value in given.items())
    return f"gradlab {named} --config {quote(short_path(path))}{typed}{trust_flag(path)}"


def _watch(cell: Mapping[str, object], path: Path) -> str:
    """`watch mymodel:make`, with the user's own batches where the data set is no one's of gradlab."""
    try:
        data = config.resolve(file=path, trusted=True).base.data.name
    except UserError:
        return ""
    batches = [] if cell["dataset"] == data else ["--batches", str(cell["dataset"])]
    return join(["watch", str(cell["activation"]), *batches])


def _flags_of(cell: Mapping[str, object], varying: Iterable[str]) -> dict[str, str]:
    """What tells the cell from the others of its grid, as flags."""
    keys = {"data" if name == "dataset" else name: cell[name] for name in varying}
    return {
        BY_FLAG[name].option: format_number(value) if isinstance(value, float) else str(value)
        for name, value in keys.items()
        if name in BY_FLAG
    }


def _pairs(flags: str) -> dict[str, str]:
    words = split(flags)
    return dict(zip(words[::2], words[1::2], strict=True))
