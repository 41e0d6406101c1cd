"""Pages of the site that are no files of docs/: made from the program, or kept at the top of the repository."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from gradlab.cli.listing import KINDS
from gradlab.cli.main import COMMANDS, load

ROOT = Path(__file__).parents[2]
AT_THE_TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.md",
}
"""file of the repository -> page of the site"""
OTHER_PAGES = {"metrics", "verdicts", "papers"}
"""lists of `gradlab list` that have a page of their own"""
LINK = re.compile(r"(\]\()([\w./-]+)(?=[)#])")


def commands() -> str:
    """Every command with its arguments and options, as its --help has them."""
    parts = ["# Commands", "What `gradlab COMMAND --help` says, of every command."]
    for name in COMMANDS:
        command = load(name)
        context = typer.Context(command, info_name=f"gradlab {name}")
        parts.append(get_docs_for_click(obj=command, ctx=context, indent=1, name=f"gradlab {name}"))
    return "\n\n".join(parts).replace(r"\[", "[")


def table(kind: str) -> str:
    """One of `gradlab list`'s, as a table; columns that are empty in every row are left out."""
    rows = KINDS[kind]()
    columns = [name for name in rows[0] if any(row.get(name) for row in rows)]
    lines = [columns, ["---"] * len(columns)]
    lines += [[row.get(name, "").replace("|", r"\|") for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def choices() -> str:
    """What can be named in a flag or a configuration."""
    parts = ["# What can be chosen", "What `gradlab list` prints, list by list."]
    for kind in KINDS:
        if kind not in OTHER_PAGES:
            parts += [f"## {kind}", table(kind)]
    return "\n\n".join(parts)


def verdicts() -> str:
    """The words of a diagnosis."""
    introduction = (
        "The words that a network can be called, causes before what they cause. `gradlab list verdicts` prints the "
        "same. [The clinic](clinic.md) and [the comparison of detectors](detectors.md) say how often they are right."
    )
    return f"# Verdicts\n\n{introduction}\n\n{table('verdicts')}"


def _linked(text: str, docs: str) -> str:
    """A page from elsewhere, its links as they are from docs/; `docs` is what leads to docs/ from its place."""

    def link(found: re.Match[str]) -> str:
        target = found[2].removeprefix(docs).removeprefix("../")
        return found[1] + AT_THE_TOP.get(target, target)

    return LINK.sub(link, text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages, and the pictures that the home page shows."""
    for name, page in AT_THE_TOP.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_linked(text, "docs/")))
    for name, make in {"commands.md": commands, "choices.md": choices, "verdicts.md": verdicts}.items():
        files.append(File.generated(config, name, content=make()))
    for picture in sorted((ROOT / "results" / "reference").glob("*.png")):
        path = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, path, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links of docs/ to files at the top lead to their pages."""
    return _linked(markdown, "docs/")
