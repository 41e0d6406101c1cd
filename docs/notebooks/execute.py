"""Run the notebooks and keep what they show: `python docs/notebooks/execute.py` (needs the extra `test`)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def execute(path: Path, folder: Path) -> Any:
    """The notebook at `path`, run from an empty working directory. Raises CellExecutionError where a cell fails.

    What it shows holds no path of this machine, no time, and no progress.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = output["text"].replace(str(folder), ".")
            for kind, text in output.get("data", {}).items():
                output["data"][kind] = text.replace(str(folder), ".") if kind.startswith("text/") else text
        if "outputs" in cell:
            cell.outputs = [each for each in cell.outputs if not _is_progress(each)]
    notebook.metadata = {"language_info": {"name": "python"}, "kernelspec": KERNEL}
    return notebook


KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def _is_progress(output: Any) -> bool:
    """A training's bars are gone when it is over: their output is empty."""
    return output.output_type == "display_data" and not output.data.get("text/html", "-")


if __name__ == "__main__":
    for name in sys.argv[1:] or [path.name for path in sorted(FOLDER.glob("*.ipynb"))]:
        with tempfile.TemporaryDirectory() as empty:
            nbformat.write(execute(FOLDER / name, Path(empty)), FOLDER / name)
