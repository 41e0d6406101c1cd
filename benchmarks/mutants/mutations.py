"""Every mutant of a file: cosmic-ray's operators at each place where a mistake would be plausible."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

_COMPARISONS = ("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Is_IsNot", "IsNot_Is")
_ARITHMETIC = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul", "FloorDiv_Mul", "Mod_FloorDiv")
_WORDS = (
    "AndWithOr",
    "OrWithAnd",
    "TrueWithFalse",
    "FalseWithTrue",
    "BreakWithContinue",
    "ContinueWithBreak",
)
OPERATORS = (
    *(f"core/ReplaceComparisonOperator_{name}" for name in _COMPARISONS),
    *(f"core/ReplaceBinaryOperator_{name}" for name in _ARITHMETIC),
    *(f"core/Replace{name}" for name in _WORDS),
    "core/ReplaceUnaryOperator_Delete_Not",
    "core/ReplaceUnaryOperator_Delete_USub",
    "core/NumberReplacer",
    "core/AddNot",
    "core/ZeroIterationForLoop",
)

LAYOUT = {
    "alpha",
    "color",
    "fontsize",
    "linewidth",
    "lw",
    "markersize",
    "ms",
    "pad",
    "rotation",
    "zorder",
    "size",
}
LAYOUT |= {
    "figsize",
    "dpi",
    "labelsize",
    "columnspan",
    "ncol",
    "ncols",
    "width",
    "height",
    "justify",
    "markup",
    "va",
}
"""Keyword arguments that set type and colour."""

GUARDS = {
    "strict",
    "stacklevel",
    "maxsize",
    "frozen",
    "slots",
    "kw_only",
    "eq",
    "repr",
    "compare",
    "copy",
    "exc_info",
}
"""Keyword arguments that change nothing where the code around them is right."""


@dataclass(frozen=True)
class Mutant:
    """One changed place of one file."""

    area: str
    file: str
    """Relative to the root."""
    operator: str
    occurrence: int
    line: int
    column: int

    @property
    def name(self) -> str:
        return (
            f"{self.file}:{self.line}:{self.column} {self.operator.removeprefix('core/')} {self.occurrence}"
        )


def mutants_of(area: str, file: Path, root: Path) -> list[Mutant]:
    """All mutants of one file, without annotations, texts, decorators, assertions, layout and logging."""
    source = (root / file).read_text(encoding="utf-8")
    skipped = _skipped(ast.parse(source))
    nodes, found = list(ast_nodes(get_ast(source))), []
    for operator in OPERATORS:
        for occurrence, (line, column) in enumerate(_places(nodes, operator)):
            if not any(start <= (line, column) < end for start, end in skipped):
                found.append(Mutant(area, str(file), operator, occurrence, line, column))
    return found


def _places(nodes: Sequence[object], operator: str) -> list[tuple[int, int]]:
    """Where an operator changes something, in the order in which its occurrences are counted."""
    positions = get_operator(operator)().mutation_positions
    return [start for node in nodes for start, _ in positions(node)]


def _skipped(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where nothing is changed, as (line, column) with lines from 1 and columns from 0."""
    return [_extent(node) for node in _unchanged(tree)]


def _unchanged(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr() | ast.Assert() | ast.Raise():
                yield node
            case ast.AnnAssign():
                yield node.annotation
            case ast.arg(annotation=annotation) if annotation is not None:
                yield annotation
            case ast.FunctionDef(returns=returns, decorator_list=decorators):
                yield from decorators
                if returns is not None:
                    yield returns
            case ast.ClassDef(decorator_list=decorators):
                yield from decorators
            case ast.keyword(arg=name) if name in LAYOUT | GUARDS:
                yield node.value
            case ast.Call(
                func=ast.Name(id="field" | "TypeVar" | "cast" | "Field") | ast.Attribute(attr="new_figure")
            ):
                yield node
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                yield node
            case ast.Assign(value=ast.BinOp(op=ast.BitOr())):
                yield node
            case ast.If(test=ast.Name(id="TYPE_CHECKING") as test):
                yield test


def _extent(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    place = node
    assert isinstance(place, ast.expr | ast.stmt)
    end_line, end_column = place.end_lineno, place.end_col_offset
    assert end_line is not None and end_column is not None
    return (place.lineno, place.col_offset), (end_line, end_column)


def mutated(source: str, mutant: Mutant) -> str:
    """The file's text with that one place changed."""
    changed = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    assert changed is not None
    return str(changed)


def changed_line(before: str, after: str) -> tuple[str, str]:
    """The first line that differs, as it was and as it is, stripped."""
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    return next((old.strip(), new.strip()) for old, new in pairs if old != new)
