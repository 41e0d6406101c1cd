"""The results folder: what is in it, whether this plan may use it, and the files it ends with.

DIR/.journal/plan.json     which cells, seeds and recording the stacks beside it belong to
DIR/.journal/*.npz         finished stacks; they stay, so that a larger grid can take them up
DIR/.journal/*.checkpoint  stacks in training that take long
DIR/.journal/lock          held by the process that writes here
DIR/.journal/swap          the token in the names of the folders that --force makes beside this one
DIR/*.csv, config.toml     replaced whole, never half-written
DIR/weights/*.safetensors  final weights, where asked for
DIR/manifest.json          written last: it says "finished"
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gradlab import sensors
from gradlab.base import atomic
from gradlab.base.errors import GradlabError, Problem, UserError
from gradlab.base.identity import digest_of_file
from gradlab.base.lock import Held, Lock
from gradlab.base.places import resolved, working_directory
from gradlab.base.user_file import read_text
from gradlab.config.plan import Plan, Stack
from gradlab.config.sections import Recording, Run
from gradlab.store import journal
from gradlab.store.results import JOURNAL, MANIFEST
from gradlab.store.stack_result import StackResult
from gradlab.store.swap import TOKEN, Swap
from gradlab.tables.spec import SCHEMA_VERSION
from gradlab.tables.table import Table, write_csv, write_parquet

FORMATS = {"csv": ("csv",), "parquet": ("parquet",), "both": ("csv", "parquet")}
"""--tables -> the endings of a table's files"""
WEIGHTS = "weights"
STAYS = ("lock", TOKEN)
"""Files of a journal that say nothing of results."""
State = Literal["new", "unfinished", "finished"]


@dataclass(frozen=True)
class Claim:
    """Whose results a folder holds, and how they are written.

    id: of the plan; cells: their ids; a plan extends another with the same seeds and recording whose cells it has
    """

    id: str
    cells: tuple[str, ...]
    seeds: tuple[int, ...]
    recording: Recording
    run: Run
    out: Path

    @classmethod
    def of(cls, plan: Plan) -> Claim:
        cells = tuple(cell.id for cell in plan.cells)
        return cls(plan.id, cells, plan.seeds, plan.recording, plan.run, plan.out)

    def identity(self) -> dict[str, Any]:
        """As it stands in the journal and in the manifest."""
        return {
            "schema": SCHEMA_VERSION,
            "plan": self.id,
            "cells": list(self.cells),
            "seeds": list(self.seeds),
            "recording": self.recording.differing(),
        }


class ResultsFolder:
    """The folder of one plan; nothing is written before `prepare`.

    message: told of every file that is damaged or foreign, and what is done about it
    """

    def __init__(self, claim: Claim, message: Callable[[str], None] = lambda text: None) -> None:
        self.claim = claim
        # `.` has no name to put a folder beside, and a link would itself be moved
        nameless = claim.out.name in ("", "..")
        self.path = resolved(claim.out) if nameless or claim.out.is_symlink() else claim.out
        self._tell = message
        self._told: set[str] = set()
        self._sums: dict[str, str] = {}  # file of weights that was kept or checked -> its sha256
        self._swap = Swap(self.path)
        self._building = self.path  # where files go: the folder, or beside it while --force builds
        self._locks: list[Lock] = []
        self._made: list[Path] = []  # folders that `prepare` made, the innermost first

    @property
    def journal(self) -> Path:
        return self._building / JOURNAL

    @property
    def weights(self) -> Path:
        return self._building / WEIGHTS

    def state(self) -> State:
        """What the folder holds for this plan. Raises UserError when it holds something else."""
        if self.path.exists() and not self.path.is_dir():
            raise self._refused("it is a file", "a folder")
        if not self.path.exists() or not _holds_anything(self.path):
            return "new"
        found = _identity(self.path)
        if found is None and not _has_records(self.path / JOURNAL):
            what = "it holds files that are no gradlab results"
            what += ", so --force does not replace it" if self.claim.run.force else ""
            raise self._refused(what, "an empty or new folder")
        if self.claim.run.force:
            here = working_directory()
            if resolved(self.path) in (here, *here.parents):
                raise self._refused("--force cannot replace the working directory", "another folder")
            return "new"
        if found is None:
            what = f"its {JOURNAL}/plan.json is missing or damaged, and it has no manifest"
            raise self._refused(what, "another folder", "--force trains it anew")
        if found.get("schema") != SCHEMA_VERSION:
            what = (
                f"its results have schema version {found.get('schema')}, this gradlab writes {SCHEMA_VERSION}"
            )
            raise self._refused(what, "another folder", "--force replaces what is there")
        if found["plan"] == self.claim.id:
            return "finished" if self._is_finished() else "unfinished"
        if self._extends(found):
            return "unfinished"
        raise self._refused(
            "it holds the results of another configuration",
            "another folder, or a grid that contains the old one with the same seeds and recording",
            "--force replaces what is there",
        )

    def prepare(self) -> None:
        """Make the folder, take its lock and note whose results it will hold.

        Raises UserError when another process writes there or has put other results there, GradlabError when it
        cannot be written.
        """
        try:
            self._swap.restore()
            self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            (self.path / JOURNAL).mkdir(parents=True, exist_ok=True)
            self._lock(self.path)
            self._swap.clear()
            if self.claim.run.force:
                self._building = self._swap.building()
                self._lock(self._building)
            self.state()  # again, now that nobody else can change it
            if self.claim.run.force and (_identity(self._building) or {}).get("plan") != self.claim.id:
                _clear(self._building)
            for folder in (self.journal, self._building, self.weights):
                atomic.remove_leftovers(folder)
            if (_identity(self._building) or {}).get("plan", self.claim.id) != self.claim.id:
                for table in sensors.tables():  # of the smaller grid that this one contains
                    for ending in FORMATS["both"]:
                        (self._building / f"{table}.{ending}").unlink(missing_ok=True)
            (self._building / MANIFEST).unlink(missing_ok=True)
            atomic.write_text(self.journal / "plan.json", json.dumps(self.claim.identity(), indent=1) + "\n")
        except Held as error:
            problem = f"another gradlab writes there: {error.holder}"
            raise self._refused(problem, None, "wait until it ends, or choose another --out") from None
        except OSError as error:
            raise self.unwritable(error) from error

    def finished(self, stack: Stack, tables: Collection[str] | None = None) -> StackResult | None:
        """The stack's records where the journal has them whole; of some tables, or all."""
        path = self.journal / f"{stack.key}.npz"
        try:
            found = journal.read_stack(path, stack, tables)
        except journal.Unusable as error:
            self._message(f"{path} {error}: its seeds are trained again")
            return None
        if found is None or not self.claim.run.save_weights or self._has_weights(stack, found):
            return found
        return None

    def begun(self) -> dict[str, list[tuple[int, int]]]:
        """By cell, the first and last seed of each stack that has records or a checkpoint in the journal."""
        found: dict[str, set[tuple[int, int]]] = {}
        for path in self.journal.iterdir() if self.journal.is_dir() else ():
            cell, *seeds = path.stem.split("-")
            if path.suffix in (".npz", ".checkpoint") and len(seeds) == 2 and all(map(str.isdecimal, seeds)):
                found.setdefault(cell, set()).add((int(seeds[0]), int(seeds[1])))
        return {cell: sorted(spans) for cell, spans in found.items()}

    def keep(self, stack: Stack, result: StackResult, parts: Iterable[Stack] = ()) -> None:
        """Put a finished stack on disk, in the place of its parts. Raises GradlabError when it cannot be written."""
        try:
            weights = self._weights_of(stack)
            if self.claim.run.save_weights and weights.is_file():
                result = replace(result, weights=digest_of_file(weights))
                self._sums[weights.name] = result.weights
            journal.write_stack(self.journal / f"{stack.key}.npz", stack, result)
            (self.journal / f"{stack.key}.checkpoint").unlink(missing_ok=True)
            for part in parts:
                (self.journal / f"{part.key}.npz").unlink(missing_ok=True)
        except OSError as error:
            raise self.unwritable(error) from error

    def file(self, name: str) -> Path:
        return self._building / name

    def write(self, table: str, parts: Iterable[Table], formats: str) -> list[str]:
        """Write one table whole, its parts below each other; the files' names.

        formats: csv, parquet or both. Raises GradlabError when it cannot be written.
        """
        endings = FORMATS[formats]
        parts = parts if len(endings) == 1 else list(parts)
        for ending in endings:
            write = write_csv if ending == "csv" else write_parquet
            try:
                write(self.file(f"{table}.{ending}"), parts)
            except OSError as error:
                raise self.unwritable(error) from error
        return [f"{table}.{ending}" for ending in endings]

    def finish(
        self, manifest: Mapping[str, Any], names: Sequence[str], *, finished: bool = True
    ) -> list[Path]:
        """Write the manifest, last of all, and move a folder built by --force into place; the files' paths.

        finished: False where the user stopped before the end
        """
        for folder in (self.journal, self.weights):
            atomic.remove_leftovers(folder)  # of workers that were killed
        atomic.write_text(self.journal / "plan.json", json.dumps(self.claim.identity(), indent=1) + "\n")
        document = {
            "gradlab": "results",
            **self.claim.identity(),
            "weights": {name: self._sums[name] for name in sorted(self._sums)},
            **manifest,
            "finished": finished,
            "sha256": {name: digest_of_file(self.file(name)) for name in names},
        }
        atomic.write_text(self.file(MANIFEST), json.dumps(document, indent=1) + "\n")
        if self._building != self.path:
            self._swap.into_place()
            self._building = self.path
        return self.files()

    def manifest(self) -> dict[str, Any]:
        """The manifest of finished results."""
        found: dict[str, Any] = json.loads(read_text(self.path / MANIFEST, most=None))
        return found

    def files(self) -> list[Path]:
        """The files that finished results consist of."""
        return [self.path / name for name in [*self.manifest()["sha256"], MANIFEST]]

    def close(self) -> None:
        """Let others write here. What --force was building and did not finish stays beside, to be continued."""
        for lock in self._locks:
            lock.release()
        self._locks = []

    def forget(self) -> None:
        """Take back what `prepare` made, where nothing came of it: the journal, and folders that are empty then."""
        assert self._locks, "another may write there"
        for folder in {self._building, *self._made[:1]}:  # with --force the lock is in a folder of its own
            shutil.rmtree(folder / JOURNAL, ignore_errors=True)
        with suppress(OSError):  # a folder that holds something else
            for folder in dict.fromkeys((self._building, *self._made)):
                folder.rmdir()

    def unwritable(self, error: OSError) -> GradlabError:
        """The error of a full disk or a folder without permission, in words."""
        reason = error.strerror or str(error)
        return GradlabError(
            f"cannot write to {self.path}: {reason}",
            "what is finished is kept: the same command continues once there is room, or choose another --out",
        )

    def _weights_of(self, stack: Stack) -> Path:
        return self.weights / f"{stack.key}.safetensors"

    def _has_weights(self, stack: Stack, found: StackResult) -> bool:
        """Whether the stack's weights are there as they were kept. Each file is read once."""
        path = self._weights_of(stack)
        if found.weights and self._sums.get(path.name) == found.weights:
            return True
        try:
            whole = found.weights != "" and digest_of_file(path) == found.weights
        except OSError:
            whole = False
        if whole:
            self._sums[path.name] = found.weights
        elif found.weights:  # else they were not asked for before
            self._message(f"{path} is missing or not as gradlab left it: its seeds are trained again")
        return whole

    def _message(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._tell(text)

    def _refused(self, message: str, allowed: str | None, hint: str | None = None) -> UserError:
        return UserError(Problem(f"--out {self.path}", message, allowed, hint))

    def _lock(self, folder: Path) -> None:
        self._locks.append(Lock(folder / JOURNAL / "lock"))

    def _is_finished(self) -> bool:
        """Whether the manifest is there, nothing failed, and the tables are those it speaks of."""
        path = self.path / MANIFEST
        try:
            found = self.manifest()
            hashes, failed = dict(found["sha256"]), found["failed"]
            dict(found["timings"])
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            self._message(f"{path} is torn: the tables are written again")
            return False
        if (
            failed
            or not found.get("finished")
            or not all(f"summary.{ending}" in hashes for ending in FORMATS[self.claim.run.tables])
        ):
            return False
        for name, expected in hashes.items():
            try:
                changed = Path(name).name != name or digest_of_file(self.path / name) != expected
            except (OSError, ValueError):  # a name with a NUL is none
                changed = True
            if changed:
                self._message(f"{self.path / name} is not as gradlab left it: the tables are written again")
                return False
        return True

    def _extends(self, found: Mapping[str, Any]) -> bool:
        """Whether this plan's grid contains what is there, so that its stacks can be taken over."""
        own = self.claim.identity()
        same = all(found.get(key) == own[key] for key in ("seeds", "recording"))
        return same and all(cell in own["cells"] for cell in found["cells"])


def _identity(folder: Path) -> dict[str, Any] | None:
    """Whose results are in a folder, by its journal, or by its manifest where it was copied without; None when it
    holds none of gradlab's."""
    for path in (folder / JOURNAL / "plan.json", folder / MANIFEST):
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(read_text(path, most=None))
            if (
                isinstance(found, dict)
                and isinstance(found.get("plan"), str)
                and isinstance(found.get("cells"), list)
            ):
                return found
    return None


def _has_records(journal: Path) -> bool:
    """Whether a journal holds what gradlab puts there, if not the file that says whose it is."""
    return any(any(journal.glob(kind)) for kind in ("plan.json", "*.npz", "*.checkpoint"))


def _clear(folder: Path) -> None:
    """Empty a folder whose lock this process holds."""
    for path in [*folder.iterdir(), *(folder / JOURNAL).iterdir()]:
        if path.name in STAYS or path == folder / JOURNAL:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _holds_anything(folder: Path) -> bool:
    """Whether a folder holds more than an empty journal, which a killed start may leave."""
    for path in folder.iterdir():
        if path.name != JOURNAL or any(
            entry.name not in STAYS and not entry.name.endswith(".part") for entry in path.iterdir()
        ):
            return True
    return False
