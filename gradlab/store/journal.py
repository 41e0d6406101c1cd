"""The journal: one npz file a finished stack, written atomically, read without unpickling anything."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np

from gradlab.store import atomic
from gradlab.store.schema import SCHEMA_VERSION
from gradlab.train.result import StackResult

ARRAYS = ("steps", "layers", "layer_applies", "scalars", "scalar_applies", "input_sq")


def write_stack(path: Path, result: StackResult) -> None:
    """Put one stack's records on disk; after a crash the file is whole or absent."""
    plain = {key: value for key, value in asdict(result).items() if key not in ARRAYS}
    plain["timings"] = dict(result.timings)
    header = json.dumps({"schema": SCHEMA_VERSION, **plain})

    def fill(handle: IO[bytes]) -> None:
        np.savez(handle, header=np.array(header), **{name: getattr(result, name) for name in ARRAYS})

    atomic.write(path, fill)


def read_stack(path: Path) -> StackResult | None:
    """The stack in `path`; None when there is none, or when it is torn, foreign or of another schema version."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            arrays = {name: archive[name] for name in ARRAYS}
        if header.pop("schema") != SCHEMA_VERSION:
            return None
        for key in ("seeds", "layer_columns", "names", "fan_in", "fan_out"):
            header[key] = tuple(header[key])
        return StackResult(**header, **arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
