"""What is mutated: the files of each area, and the folders of tests that are asked."""

from __future__ import annotations

from pathlib import Path

AREAS: dict[str, tuple[str, ...]] = {
    "measure": ("gradlab/sensors/**/*.py", "gradlab/nn/statistics.py"),
    "theory": ("gradlab/theory/*.py",),
    "analyse": ("gradlab/analyse/**/*.py",),
    "train": ("gradlab/train/*.py", "gradlab/parts/*optimizer*.py", "gradlab/parts/rates.py"),
    "network": (
        "gradlab/nn/*.py",
        "gradlab/activations/*.py",
        "gradlab/parts/inits.py",
        "gradlab/parts/norms.py",
        "gradlab/parts/residuals.py",
        "gradlab/parts/random_net.py",
        "gradlab/parts/losses.py",
    ),
    "store": ("gradlab/store/*.py", "gradlab/tables/*.py", "gradlab/base/atomic.py", "gradlab/base/lock.py"),
    "config": ("gradlab/config/*.py",),
    "report": (
        "gradlab/report/quantities.py",
        "gradlab/report/selections.py",
        "gradlab/report/layer_table.py",
        "gradlab/report/summary_columns.py",
        "gradlab/report/tables.py",
        "gradlab/report/theory_tables.py",
        "gradlab/report/page_data.py",
        "gradlab/report/distributions.py",
        "gradlab/report/diagnoses.py",
        "gradlab/report/families.py",
        "gradlab/report/first_screen*.py",
        "gradlab/report/try_command.py",
        "gradlab/report/figures/*.py",
    ),
}
"""Area -> patterns of its files; of `report` only what chooses and computes numbers, not what sets type."""

TESTS = (
    "theory", "config", "train", "network", "store", "parts", "activations", "measure", "analyse", "report",
    "repair", "sweep", "data_sets", "papers", "recorder", "cli",
)  # fmt: skip
"""The folders of tests/ whose fast tests are asked. Those left out start processes and copy nothing new."""


def files_of(area: str, root: Path) -> list[Path]:
    """The files of one area, relative to `root`, in the alphabet's order; nn/statistics.py is measure's alone."""
    own = {path.relative_to(root) for pattern in AREAS[area] for path in root.glob(pattern)}
    if area != "measure":
        own -= set(files_of("measure", root))
    return sorted(path for path in own if path.name not in ("__init__.py", "describe.py"))
