"""`gradlab env`: versions, devices, threads and paths."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import gradlab
from gradlab.base import blas
from gradlab.cli.options import AsJson
from gradlab.cli.output import emit, say


def env(json: AsJson = False) -> int:
    """Print versions, devices, threads and package paths: what a bug report needs.

    gradlab env
    """
    found = _environment()
    if json:
        emit(found)
        return 0
    for name, value in found.items():
        if isinstance(value, dict):
            say(f"{name}:")
            for key, item in value.items():
                say(f"  {key}: {item}")
        else:
            say(f"{name}: {value}")
    return 0


def _environment() -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available()
    return {
        "gradlab": gradlab.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _required()},
        "devices": {
            "cpu": f"{platform.machine()}, {os.cpu_count()} logical cores",
            "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
            if cuda
            else "none",
            "mps": "yes" if torch.backends.mps.is_available() else "none",
        },
        "threads": torch.get_num_threads(),
        "products": f"{blas.name()}, on the CPU",
        "variables": {name: value for name, value in sorted(os.environ.items()) if _counts(name)},
        "paths": {
            "gradlab": str(Path(gradlab.__file__).parent),
            "torch": str(Path(torch.__file__).parent),
            "python": sys.executable,
            "working directory": _working_directory(),
        },
    }


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "removed"


def _required() -> list[str]:
    """The names of the packages gradlab needs, extras left out."""
    lines = [line for line in requires("gradlab") or [] if "extra ==" not in line]
    return [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in lines]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _counts(name: str) -> bool:
    """Variables that change what a run does or how it looks."""
    return name.startswith("GRADLAB_") or name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NO_COLOR")
