"""Commands that are worth typing after a result, each complete: with the model, the file and the flags it needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import join, quote

from gradlab import config
from gradlab.analyse.advice import in_parts
from gradlab.analyse.origin import is_users, is_watched
from gradlab.base.errors import UserError
from gradlab.base.places import short_path
from gradlab.base.user_file import read_text
from gradlab.config.files import trust_flag
from gradlab.report import try_command
from gradlab.store.results import CONFIG


def advised(advice: object, cell: Mapping[str, object], folder: Path | None) -> str:
    """The command that follows an advice of summary.csv; "" where it names none, or no configuration is there.

    cell: its columns; folder: the results, with their config.toml
    """
    flags = in_parts(advice)[0] if isinstance(advice, str) else ""
    return again(cell, folder, flags) if flags else ""


def again(cell: Mapping[str, object], folder: Path | None, flags: str) -> str:
    """The command that trains one cell of a results folder again with these flags; "" where nothing says how."""
    if folder is None or not (folder / CONFIG).is_file():
        return ""
    path = folder / CONFIG
    if not is_users(cell):
        return try_command.command(cell, read_text(path), flags)
    if not is_watched(cell) or not (model := _model(cell, path)):
        return ""
    return f"gradlab {model} --config {quote(short_path(path))} {flags}{trust_flag(path)}"


def _model(cell: Mapping[str, object], path: Path) -> str:
    """`watch mymodel:make`, with the user's own batches where the data set is none of gradlab's."""
    try:
        data = config.resolve(file=path, trusted=True).base.data.name
    except UserError:
        return ""
    batches = [] if cell["dataset"] == data else ["--batches", str(cell["dataset"])]
    return join(["watch", str(cell["activation"]), *batches])
