"""What a manifest says of how results came to be: versions, machine, command."""

from __future__ import annotations

import platform
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gradlab.base import blas
from gradlab.config.plan import RECIPE

PACKAGES = ("gradlab", "torch", "numpy", "scipy", "pandas", "scikit-learn")


def provenance(devices: Collection[str]) -> dict[str, Any]:
    """devices: the types that were trained on."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "recipe": RECIPE,
        "versions": {"python": platform.python_version(), **packages},
        "products": blas.name() if "cpu" in devices else "torch",
        "platform": platform.platform(),
        "device": sorted(devices),
        "threads": 1,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
    }
