"""What tells one thing from another: hashes over values and over files."""

from __future__ import annotations

import json
from hashlib import file_digest, sha256
from math import inf
from pathlib import Path

from gradlab.base.user_file import open_file


def identity_of(value: object) -> str:
    """`g` and 12 hex digits over a value's JSON.

    Hex digits alone can look like a number (`066e40732038` is infinite to pandas, R and Excel). No number in any base,
    date or formula begins with a g.
    """
    return f"g{sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]}"


def digest_of_file(path: Path) -> str:
    """sha256 of a file's bytes, in hex. Raises OSError."""
    with open_file(path, inf) as stream:
        return file_digest(stream, "sha256").hexdigest()
