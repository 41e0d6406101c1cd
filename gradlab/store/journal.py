"""The journal: one npz file a finished stack, written atomically, read without unpickling anything.

The file holds each table's block under `TABLE/values` and `TABLE/applies`; what the rows are about, and all else that
is no array, stands in a header of JSON.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import IO, Any

import numpy as np

from gradlab.base import atomic
from gradlab.base.user_file import open_file
from gradlab.config.plan import Stack
from gradlab.store.stack_result import StackResult
from gradlab.tables.block import Block
from gradlab.tables.spec import SCHEMA_VERSION, TableSpec


class Unusable(Exception):
    """A file of the journal that does not hold the stack it should; the text says why."""


def write_stack(path: Path, stack: Stack, result: StackResult) -> None:
    """Put one stack's records on disk; after a crash the file is whole or absent. Raises OSError."""
    header = {
        "gradlab": "stack",
        "schema": SCHEMA_VERSION,
        "recording": stack.recording.differing(),
        "cell": result.cell,
        "seeds": result.seeds,
        "timings": dict(result.timings),
        "weights": result.weights,
        "places": {name: _plain(block.places) for name, block in result.blocks.items()},
    }
    arrays: dict[str, Any] = {"steps": result.steps, "input_sq": result.input_sq}
    for name, block in result.blocks.items():
        arrays |= {f"{name}/values": block.values, f"{name}/applies": block.applies}
    _write(path, header, arrays)


def read_stack(path: Path, stack: Stack, tables: Collection[str] | None = None) -> StackResult | None:
    """The stack's records, or None when the file does not exist.

    tables: those whose blocks are wanted; the others are not read. All when None.
    Raises Unusable when the file is torn, foreign, of another schema version, or another stack's.
    """
    specs = stack.recording.tables()
    wanted = {name: spec for name, spec in specs.items() if tables is None or name in tables}
    try:
        with open_file(path, inf) as stream, np.load(stream, allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            _check(header, stack)
            steps, input_sq = archive["steps"], archive["input_sq"]
            arrays = {name: (archive[f"{name}/values"], archive[f"{name}/applies"]) for name in wanted}
    except FileNotFoundError:
        return None
    except Unusable:
        raise
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror or error})") from error
    except zipfile.BadZipFile as error:
        raise Unusable("is torn") from error
    except Exception as error:  # NumPy and zipfile raise a dozen kinds over bytes they did not write
        raise Unusable("is no file of gradlab's, or torn") from error
    try:
        cell, seeds, timings = header["cell"], tuple(header["seeds"]), dict(header["timings"])
        weights = str(header["weights"])
        blocks = {
            name: Block(name, specs[name].recorded, values, applies, dict(header["places"][name]))
            for name, (values, applies) in arrays.items()
        }
        result = StackResult(
            cell=cell,
            seeds=seeds,
            steps=steps,
            blocks=blocks,
            input_sq=input_sq,
            timings=timings,
            weights=weights,
        )
        sound = _consistent(result, specs)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise Unusable("is no file of gradlab's, or torn") from error
    if (result.cell, result.seeds) != (stack.cell.id, stack.seeds):
        raise Unusable(f"holds cell {result.cell}, seeds {list(result.seeds)}")
    if not sound:
        raise Unusable("holds arrays that do not fit together")
    return result


def join_stacks(paths: Sequence[Path], target: Path) -> bool:
    """Write the stacks of one cell's consecutive seeds as one stack; False where they cannot be read or do not fit.

    A seed has the same records whichever seeds it trained with. Raises OSError where the target cannot be written.
    """
    headers, parts = [], []
    try:
        for path in paths:
            with open_file(path, inf) as stream, np.load(stream, allow_pickle=False) as archive:
                headers.append(json.loads(str(archive["header"])))
                parts.append({name: archive[name] for name in archive.files if name != "header"})
        first, own = parts[0], headers[0]
        alike = [name for name in first if name == "steps" or name.endswith("/applies")]
        told = [name for name in own if name not in ("seeds", "timings", "weights")]
        for header, part in zip(headers, parts, strict=True):
            if any(header[name] != own[name] for name in told) or [*part] != [*first]:
                return False
            if not all(np.array_equal(part[name], first[name]) for name in alike):
                return False
        arrays = {
            name: values if name in alike else np.concatenate([part[name] for part in parts])
            for name, values in first.items()
        }
        timings: dict[str, float] = {}
        for name, value in (item for header in headers for item in header["timings"].items()):
            timings[name] = timings.get(name, 0.0) + value
        joined = {"seeds": [seed for header in headers for seed in header["seeds"]], "timings": timings}
    except Exception:  # NumPy and zipfile raise a dozen kinds over bytes they did not write
        return False
    _write(target, own | joined | {"weights": ""}, arrays)
    return True


def _write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    def fill(handle: IO[bytes]) -> None:
        archive = io.BytesIO()  # written in one piece: the archive goes back and forth over its own file
        np.savez(archive, header=np.array(json.dumps(header)), **arrays)
        handle.write(archive.getbuffer())

    atomic.write(path, fill)


def _plain(places: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, int) else list(value) for name, value in places.items()}


def _check(header: object, stack: Stack) -> None:
    """Raise Unusable where the header is not that of a file of this version and these settings."""
    if not isinstance(header, dict) or header.get("gradlab") != "stack":
        raise Unusable("is no file of gradlab's")
    if header.get("schema") != SCHEMA_VERSION:
        raise Unusable(f"is of schema version {header.get('schema')}, this gradlab has {SCHEMA_VERSION}")
    if header.get("recording") != stack.recording.differing():
        raise Unusable("was recorded with other settings")


def _consistent(result: StackResult, specs: Mapping[str, TableSpec]) -> bool:
    """Whether every array has the kind and shape that its table, the seeds and the steps call for."""
    replicas, records = len(result.seeds), len(result.steps)
    if (
        result.steps.dtype.kind != "i"
        or result.steps.shape != (records,)
        or result.input_sq.dtype.kind != "f"
    ):
        return False
    for name, block in result.blocks.items():
        spec = specs[name]
        empty = Block.empty(spec, replicas, block.places)
        lengths = {len(block.places[column.name]) for column in spec.places if column.along in spec.axes[:1]}
        if len(lengths) > 1 or block.values.dtype.kind != "f" or block.applies.dtype.kind != "b":
            return False
        recorded = block.values.shape[1] if block.values.ndim > 1 else -1
        if recorded not in (0, records) or (spec.name == "steps" and recorded != records):
            return False
        expected = (replicas, recorded, *empty.values.shape[2:])
        if block.values.shape != expected or block.applies.shape != expected[1:]:
            return False
    return result.input_sq.ndim == 2 and len(result.input_sq) == replicas
