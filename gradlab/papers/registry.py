"""The published results that `gradlab reproduce` knows, found by being there: modules of this package with a `PAPER`.

A module without `PAPER` is a helper. The modules load torch, so none is imported here. Their files are parsed, and what
`PAPER = Paper(...)` says is read from the text: its arguments have to be literals, given by keyword.
"""

from __future__ import annotations

import ast
from pathlib import Path

from gradlab.base.errors import ConfigError, Problem
from gradlab.base.registry import Registry
from gradlab.papers.paper import Paper

WHERE = "gradlab reproduce"


def paper_of(file: Path) -> Paper | None:
    """The `PAPER` of a module's file; None for a helper. Raises ValueError where it cannot be read from the text, or is
    called otherwise than the file."""
    text = file.read_text(encoding="utf-8")
    for statement in ast.parse(text).body if "\nPAPER = " in text else ():
        match statement:
            case ast.Assign(targets=[ast.Name("PAPER")], value=ast.Call(args=[], keywords=given)):
                paper = Paper(**{str(each.arg): ast.literal_eval(each.value) for each in given})
                if paper.name.replace("-", "_") != file.stem:
                    raise ValueError(f"{file}: its result is called {paper.name!r}")
                return paper
            case ast.Assign(targets=[ast.Name("PAPER")]):
                raise ValueError(f"{file}: PAPER is not Paper(...) with every argument given by keyword")
    return None


def _found() -> dict[str, Paper]:
    every = [paper for file in Path(__file__).parent.glob("*.py") if (paper := paper_of(file))]
    return {paper.name: paper for paper in sorted(every, key=lambda paper: (paper.order, paper.name))}


PAPERS = Registry("paper", _found())


def find(names: list[str]) -> list[Paper]:
    """The papers of these names, in the order given, each once. Raises ConfigError with every unknown name."""
    found: list[Paper] = []
    problems: list[Problem] = []
    for name in dict.fromkeys(names):
        try:
            found.append(PAPERS.find(name, WHERE))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return found
