"""The journal: one npz file a finished stack, written atomically, read without unpickling anything."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from gradlab.base import atomic
from gradlab.config.plan import Stack
from gradlab.store.stack_result import StackResult
from gradlab.tables.columns import HISTOGRAM_COLUMNS, JACOBIAN_COLUMNS, QUANTITIES, STEP_COLUMNS
from gradlab.tables.schema import SCHEMA_VERSION

KINDS = {
    "steps": "i",
    "layers": "f",
    "layer_applies": "b",
    "scalars": "f",
    "scalar_applies": "b",
    "input_sq": "f",
    "predicted": "f",
}
"""array -> the kind of its numbers"""
JACOBIAN_KINDS = {"jacobian": "f", "jacobian_predicted": "f"}
HISTOGRAM_KINDS = {"histograms": "f"}
OPTIONAL_KINDS = JACOBIAN_KINDS | HISTOGRAM_KINDS
"""arrays that are there only where they were asked for"""


class Unusable(Exception):
    """A file of the journal that does not hold the stack it should; the text says why."""


def write_stack(path: Path, stack: Stack, result: StackResult) -> None:
    """Put one stack's records on disk; after a crash the file is whole or absent. Raises OSError."""
    plain = {key: value for key, value in vars(result).items() if key not in KINDS | OPTIONAL_KINDS}
    header = {
        "gradlab": "stack",
        "schema": SCHEMA_VERSION,
        "recording": stack.recording.model_dump(),
        "result": {**plain, "timings": dict(result.timings)},
    }

    def fill(handle: IO[bytes]) -> None:
        arrays: dict[str, Any] = {name: getattr(result, name) for name in KINDS}
        if result.predicted is None:
            arrays["predicted"] = np.full((len(result.seeds), len(result.names)), np.nan)
        if result.jacobian is not None:
            arrays["jacobian"] = result.jacobian
            silent = np.full(len(result.names), np.nan)
            found = result.jacobian_predicted
            arrays["jacobian_predicted"] = silent if found is None else found
        if result.histograms is not None:
            arrays["histograms"] = result.histograms
        archive = io.BytesIO()  # written in one piece: the archive goes back and forth over its own file
        np.savez(archive, header=np.array(json.dumps(header)), **arrays)
        handle.write(archive.getbuffer())

    atomic.write(path, fill)


def read_stack(path: Path, stack: Stack) -> StackResult | None:
    """The stack's records, or None when the file does not exist.

    Raises Unusable when the file is torn, foreign, of another schema version, or another stack's.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            asked = JACOBIAN_KINDS if stack.recording.jacobian else {}
            asked = asked | (HISTOGRAM_KINDS if stack.recording.histograms else {})
            arrays = {name: archive[name] for name in KINDS | asked}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror or error})") from error
    except zipfile.BadZipFile as error:
        raise Unusable("is torn") from error
    except Exception as error:  # NumPy and zipfile raise a dozen kinds over bytes they did not write
        raise Unusable("is no file of gradlab's, or torn") from error
    if not isinstance(header, dict) or header.get("gradlab") != "stack":
        raise Unusable("is no file of gradlab's")
    if header.get("schema") != SCHEMA_VERSION:
        raise Unusable(f"is of schema version {header.get('schema')}, this gradlab has {SCHEMA_VERSION}")
    if header.get("recording") != stack.recording.model_dump():
        raise Unusable("was recorded with other settings")
    try:
        plain = header["result"]
        for key in ("seeds", "layer_columns", "names", "fan_in", "fan_out"):
            plain[key] = tuple(plain[key])
        result = StackResult(**plain, **arrays)
    except (KeyError, TypeError) as error:
        raise Unusable("is no file of gradlab's, or torn") from error
    if (result.cell, result.seeds) != (stack.cell.id, stack.seeds):
        raise Unusable(f"holds cell {result.cell}, seeds {list(result.seeds)}")
    if not _consistent(result):
        raise Unusable("holds arrays that do not fit together")
    return result


def _consistent(result: StackResult) -> bool:
    replicas, columns, layers = len(result.seeds), len(result.layer_columns), len(result.names)
    if any(getattr(result, name).dtype.kind != kind for name, kind in KINDS.items()):
        return False
    if not _consistent_jacobian(result) or not _consistent_histograms(result):
        return False
    records, recorded = len(result.steps), len(result.layers)
    return recorded in (0, records) and (
        result.layers.shape == (recorded, layers, replicas, columns)
        and result.layer_applies.shape == (recorded, layers, columns)
        and result.scalars.shape == (records, replicas, len(STEP_COLUMNS))
        and result.scalar_applies.shape == (records, len(STEP_COLUMNS))
        and result.input_sq.shape == (replicas, result.batch)
        and result.predicted is not None
        and result.predicted.shape == (replicas, layers)
        and len(result.fan_in) == len(result.fan_out) == layers
    )


def _consistent_jacobian(result: StackResult) -> bool:
    found, predicted = result.jacobian, result.jacobian_predicted
    if found is None or predicted is None:
        return found is predicted
    rows = len(result.names)
    return (
        found.dtype.kind == predicted.dtype.kind == "f"
        and found.shape == (len(result.layers), rows, len(result.seeds), len(JACOBIAN_COLUMNS))
        and predicted.shape == (rows,)
    )


def _consistent_histograms(result: StackResult) -> bool:
    found = result.histograms
    shape = (
        len(result.layers),
        len(result.names),
        len(result.seeds),
        len(QUANTITIES),
        len(HISTOGRAM_COLUMNS),
    )
    return found is None or (found.dtype.kind == "f" and found.shape == shape)
