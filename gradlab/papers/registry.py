"""The published results that `gradlab reproduce` knows, free of torch; each is a module of `gradlab.papers`.

To add one: an entry here and a module of the same name (underscores for hyphens) with
`reproduce(quick: bool) -> Iterator[Finding]`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradlab.errors import ConfigError, Problem, nearest


@dataclass(frozen=True)
class Paper:
    """A published result: `name` as typed, `title` what is shown, `citation` where it was published."""

    name: str
    title: str
    citation: str

    @property
    def module(self) -> str:
        return "gradlab.papers." + self.name.replace("-", "_")


PAPERS = {
    paper.name: paper
    for paper in (
        Paper(
            "lu-2019",
            "deep narrow ReLU nets are born dead",
            "Lu, Shin, Su & Karniadakis 2019, Dying ReLU and initialization",
        ),
    )
}


def find(names: list[str]) -> list[Paper]:
    """The papers of these names, in the order given, each once. Raises ConfigError with every unknown name."""
    problems = [
        Problem("gradlab reproduce", f"unknown result {name!r}", ", ".join(PAPERS), nearest(name, list(PAPERS)))
        for name in names
        if name not in PAPERS
    ]
    if problems:
        raise ConfigError(problems)
    return [PAPERS[name] for name in dict.fromkeys(names)]
