"""Assertions that cannot fail, or that a busy machine decides: the kinds of them that can be read off a test's text."""

from __future__ import annotations

import ast
from collections.abc import Iterator

CLOCKS = {"perf_counter", "process_time", "monotonic", "time", "perf_counter_ns", "process_time_ns"}
NEVER_EMPTY = {"verdicts", "axes"}
"""Attributes that hold something whatever happened: a net without a fault has the verdict `healthy`."""


def vacuous(source: str) -> list[tuple[int, str]]:
    """(line, what is wrong) of every such assertion of a file."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Assert):
                    found += [(node.lineno, what) for what in _of(node.test, function)]
    return sorted(set(found))


def _of(test: ast.expr, function: ast.FunctionDef) -> Iterator[str]:
    for part in test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]:
        if isinstance(part, ast.Attribute) and part.attr in NEVER_EMPTY:
            yield f"`{part.attr}` is never empty"
        if isinstance(part, ast.BoolOp) and isinstance(part.op, ast.Or):
            excuses = [each for each in part.values if _is_case(each, _given(function))]
            yield from (f"`{ast.unparse(each)}` excuses whole cases: use if, or ==" for each in excuses)
    for mask in sorted(_masks_of_all(test)):
        if mask in _masks_made(function) and not _is_known_to_hold(mask, function):
            yield f"all() of nothing is true: assert {mask}.any() before"
    clocked = _clocked(function)
    for node in ast.walk(test):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Mult):
            if len({n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & clocked) == 2:
                yield "a ratio of two times is the machine's"
        elif isinstance(node, ast.Compare) and _is_measured_time(node):
            yield "a measured time is the machine's"


def _given(function: ast.FunctionDef) -> set[str]:
    """What a test is given: its parameters, and what its loops go through."""
    names = {each.arg for each in function.args.args}
    for node in ast.walk(function):
        if isinstance(node, ast.For):
            names |= {each.id for each in ast.walk(node.target) if isinstance(each, ast.Name)}
    return names


def _is_case(node: ast.expr, given: set[str]) -> bool:
    """Whether this asks nothing but which case it is: a name that the test was given, against constants."""
    if not isinstance(node, ast.Compare) or not isinstance(node.left, ast.Name) or node.left.id not in given:
        return False
    if any(
        isinstance(op, ast.Is | ast.IsNot) for op in node.ops
    ):  # what may be missing may well be asked for
        return False
    plain = (ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Load)
    return all(isinstance(each, plain) for right in node.comparators for each in ast.walk(right))


def _masks_of_all(test: ast.expr) -> set[str]:
    """The names that index something within np.all(...) or (...).all()."""
    masks = set()
    for node in ast.walk(test):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "all":
            for each in ast.walk(node):
                if isinstance(each, ast.Subscript):
                    inner = each.slice.operand if isinstance(each.slice, ast.UnaryOp) else each.slice
                    masks |= {inner.id} if isinstance(inner, ast.Name) else set()
    return masks


def _masks_made(function: ast.FunctionDef) -> set[str]:
    """The names that hold the outcome of a comparison, elementwise as it may be."""
    made = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = node.value.operand if isinstance(node.value, ast.UnaryOp) else node.value
            words = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
            if isinstance(value, ast.Compare) or words.split(".")[-1] in (
                "isfinite",
                "isnan",
                "notna",
                "isna",
            ):
                made.add(node.targets[0].id)
    return made


def _is_known_to_hold(mask: str, function: ast.FunctionDef) -> bool:
    """Whether some assertion says how many the mask lets through, or that it lets any."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                    of = call.func.value
                    if (
                        isinstance(of, ast.Name)
                        and of.id == mask
                        and call.func.attr in ("any", "all", "sum", "mean")
                    ):
                        return True
    return False


def _clocked(function: ast.FunctionDef) -> set[str]:
    """The names that hold a difference of two readings of a clock."""
    names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
            calls = [each for each in ast.walk(node.value) if isinstance(each, ast.Call)]
            if any(ast.unparse(each.func).split(".")[-1] in CLOCKS for each in calls):
                names |= {
                    each.id
                    for target in node.targets
                    for each in ast.walk(target)
                    if isinstance(each, ast.Name)
                }
    return names


def _is_measured_time(node: ast.Compare) -> bool:
    """Whether a number of a manifest's timings is compared with a constant other than 0."""
    keys = [each.value for each in ast.walk(node.left) if isinstance(each, ast.Constant)]
    right = node.comparators[0]
    return "timings" in keys and isinstance(right, ast.Constant) and bool(right.value)
