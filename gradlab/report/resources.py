"""The files of a page's look and behaviour, as they stand in `templates`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"


@cache
def template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
