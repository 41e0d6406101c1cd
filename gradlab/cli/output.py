"""The two sinks: data to stdout, everything else to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any


def emit(document: object) -> None:
    """Print one JSON document on stdout; numbers that are not finite are null."""
    print(json.dumps(plain(document), indent=2, allow_nan=False))


def tell(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr)


def plain(value: Any) -> Any:
    """The value in JSON's types: NumPy's scalars as Python's, paths as texts, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
