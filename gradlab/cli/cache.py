"""`gradlab cache`: what is kept of large data files, and how to be rid of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from gradlab.base.errors import GradlabError
from gradlab.base.user_file import in_bytes
from gradlab.cli.options import AsJson
from gradlab.cli.output import emit, say
from gradlab.data import cache as kept


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False, json: AsJson = False
) -> int:
    """Show what is kept of large data files, so that they are read once.

    gradlab cache
    gradlab cache --clear
    """
    place = kept.folder()
    if clear:
        try:
            freed = kept.clear()
        except OSError as error:
            raise GradlabError(f"cannot remove {error.filename}: {error.strerror}") from error
        if json:
            emit({"folder": place, "freed": freed})
        else:
            say(f"removed {in_bytes(freed)} from {place}")
        return 0
    entries = kept.entries()
    if json:
        shown = [
            {
                "data": e.name,
                "rows": e.rows,
                "columns": e.columns,
                "bytes": e.bytes,
                "used": e.used,
                "file": e.path,
            }
            for e in entries
        ]
        emit({"folder": place, "limit": kept.LIMIT, "entries": shown})
        return 0
    for entry in entries:
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        say(
            f"{entry.name}: {entry.rows:,} rows of {entry.columns:,}, {in_bytes(entry.bytes)}, last used {used}"
        )
    total = sum(entry.bytes for entry in entries)
    say(f"{in_bytes(total)} of at most {in_bytes(kept.LIMIT)} in {place}")
    return 0
