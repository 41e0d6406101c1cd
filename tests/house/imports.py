"""What every module of a package imports, read from its text: with the module, and inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HEAVY = {
    *(
        "IPython",
        "jinja2",
        "lightning",
        "matplotlib",
        "mlflow",
        "mnist1d",
        "numpy",
        "pandas",
        "plotly",
        "pyarrow",
        "pydantic",
    ),
    *("ray", "rich", "safetensors", "scipy", "sklearn", "torch", "transformers", "typer"),
}
"""Foreign packages that take long to import or need not be installed: only they may be imported inside functions."""
BRINGS = {
    "matplotlib": {"numpy"},
    "pandas": {"numpy"},
    "pyarrow": {"numpy"},
    "scipy": {"numpy"},
    "sklearn": {"numpy", "pandas", "scipy"},
    "torch": {"numpy"},
}
"""What some of them import in their turn."""

Statement = ast.Import | ast.ImportFrom


@dataclass(frozen=True)
class Inner:
    """An import inside a function. names: what it may load: `from a import b` loads a, and a.b if that is a module."""

    file: str
    line: int
    text: str
    names: tuple[str, ...]


class Package:
    """The modules of a package in a folder, under their full names."""

    def __init__(self, folder: Path) -> None:
        self.at_import: dict[str, set[str]] = {}
        self.inner: dict[str, list[Inner]] = {}
        self.homes: dict[
            str, str
        ] = {}  # of names that a package loads on use: "gradlab.run" -> "gradlab.api"
        for path in sorted(folder.rglob("*.py")):
            file = path.relative_to(folder.parent)
            parts = file.with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found = list(_imports(tree))
            self.at_import[name] = {each for inside, node in found if not inside for each in _names(node)}
            self.inner[name] = [
                Inner(file.as_posix(), node.lineno, ast.unparse(node), _names(node))
                for inside, node in found
                if inside
            ]
            self.homes |= {f"{name}.{attribute}": home for attribute, home in _homes(tree).items()}

    def loads(self, *names: str) -> set[str]:
        """The heavy packages that importing these modules loads."""
        heavy: set[str] = set()
        seen: set[str] = set()
        ahead = list(names)
        while ahead:
            name = ahead.pop()
            if name in seen:
                continue
            seen.add(name)
            package = name.rpartition(".")[0]
            root = name.partition(".")[0]
            if root in HEAVY:
                heavy |= {root, *BRINGS.get(root, ())}
            elif name in self.at_import:
                ahead += [package, *self.at_import[name]]
            elif name in self.homes:
                ahead += [self.homes[name], f"{package}.{self.homes[name]}"]
        return heavy

    def superfluous(self) -> list[Inner]:
        """The imports inside functions that load nothing heavy beyond what their module loads anyway."""
        found = []
        for name, inners in self.inner.items():
            loaded = self.loads(name)
            found += [inner for inner in inners if self.loads(*inner.names) <= loaded]
        return found


def _imports(node: ast.AST, inside: bool = False) -> Iterator[tuple[bool, Statement]]:
    """Every import below a node, and whether it is in a function. What only type checkers see is left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Statement):
            yield inside, child
        elif not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield from _imports(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def _names(node: Statement) -> tuple[str, ...]:
    if isinstance(node, ast.Import):
        return tuple(alias.name for alias in node.names)
    assert node.module is not None and node.level == 0, "relative imports are not used here"
    return (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def _homes(tree: ast.Module) -> dict[str, str]:
    """The table `_HOME` of a package that loads its names on use: name -> module, in full or within the package."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOME":
            homes: dict[str, str] = ast.literal_eval(node.value)
            return homes
    return {}
