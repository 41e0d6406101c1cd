"""The experiments that come with the package, one question each: `--config init-matters` finds its file by name."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "experiments"


def names() -> list[str]:
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def summary(name: str) -> str:
    """Its question, with which it begins."""
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8").partition("?")[0].lstrip("# ") + "?"


def found(path: Path) -> Path:
    """The file at `path`; where there is none, the shipped one of this name, if there is one."""
    shipped = FOLDER / f"{path.name.removesuffix('.toml')}.toml"
    return shipped if path.name == str(path) and not path.exists() and shipped.is_file() else path
