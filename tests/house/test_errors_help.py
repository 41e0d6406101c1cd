"""Every error of a user's mistake says what to do: what is allowed, or the next step."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "gradlab"
SAID_BEFORE = {"Problem": 2, "refused": 1, "_refused": 1}
"""What makes an error, and how many of its arguments say where and what was wrong."""
PERHAPS = ("nearest",)
"""What gives a hint only where a known name is near."""


def helpless(source: str) -> Iterator[int]:
    """The lines in which an error is made that may say nothing to do."""
    for node in ast.walk(ast.parse(source)):
        name = getattr(getattr(node, "func", None), "id", getattr(getattr(node, "func", None), "attr", None))
        if isinstance(node, ast.Call) and name in SAID_BEFORE:
            given = [*node.args[SAID_BEFORE[name] :]]
            given += [each.value for each in node.keywords if each.arg in ("allowed", "hint")]
            if all(_says_nothing(each) for each in given):
                yield node.lineno


def _says_nothing(value: ast.expr) -> bool:
    if isinstance(value, ast.Constant):
        return not value.value
    return isinstance(value, ast.Call) and getattr(value.func, "id", None) in PERHAPS


def test_every_error_says_what_to_do() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in helpless(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_one_that_says_nothing_is_found() -> None:
    assert [*helpless('Problem("--lr", "is wrong")')] == [1]
    assert [*helpless('Problem("--lr", "is wrong", hint=nearest(a, b))\nown.refused("fails", None)')] == [
        1,
        2,
    ]
    assert not [*helpless('Problem("--lr", "is wrong", "a number")\nown.refused("fails", hint=hint)')]
