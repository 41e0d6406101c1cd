"""The results folder: what is in it, whether this plan may use it, and the files it ends with.

DIR/.journal/plan.json     which cells, seeds and recording the stacks beside it belong to
DIR/.journal/*.npz         finished stacks; they stay, so that a larger grid can take them up
DIR/*.csv, config.toml     replaced whole, never half-written
DIR/manifest.json          written last: it says "finished"
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from gradlab.errors import GradlabError, Problem, UserError
from gradlab.plan import Plan, Stack
from gradlab.store import atomic, journal
from gradlab.store.schema import SCHEMA_VERSION
from gradlab.train.result import StackResult

MANIFEST = "manifest.json"
State = Literal["new", "unfinished", "finished"]


class ResultsFolder:
    """The folder of one plan. `open` decides what state it is in; nothing is written before `prepare`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.path = plan.out
        self._building = plan.out  # where files go: the folder, or beside it while --force builds

    @property
    def journal(self) -> Path:
        return self._building / ".journal"

    def state(self) -> State:
        """What the folder holds for this plan. Raises UserError when it holds something else."""
        if self.plan.run.force:
            if self.path.exists() and any(self.path.iterdir()) and self._identity() is None:
                raise UserError(
                    Problem(
                        f"--out {self.path}",
                        "it is not a gradlab results folder, so --force does not replace it",
                        "an empty or new folder",
                    )
                )
            return "new"
        if not self.path.exists():
            return "new"
        if not self.path.is_dir():
            raise UserError(Problem(f"--out {self.path}", "it is a file", "a folder"))
        if not any(self.path.iterdir()):
            return "new"
        found = self._identity()
        if found is None:
            raise UserError(
                Problem(
                    f"--out {self.path}",
                    "it holds files that are no gradlab results",
                    "an empty or new folder",
                )
            )
        if found["plan"] == self.plan.id:
            return "finished" if (self.path / MANIFEST).exists() else "unfinished"
        if self._extends(found):
            return "unfinished"
        raise UserError(
            Problem(
                f"--out {self.path}",
                "it holds the results of another configuration",
                "another folder, or a grid that contains the old one with the same seeds and recording",
                "--force replaces what is there",
            )
        )

    def prepare(self) -> None:
        """Make the folder and note whose results it will hold. Raises GradlabError when it cannot be written."""
        if self.plan.run.force:
            self._building = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        try:
            self.journal.mkdir(parents=True, exist_ok=True)
            (self._building / MANIFEST).unlink(missing_ok=True)
            atomic.write_text(self.journal / "plan.json", json.dumps(self._own_identity(), indent=1) + "\n")
        except OSError as error:
            raise GradlabError(
                f"cannot write to {self.path}: {error.strerror}", "choose another --out"
            ) from error

    def finished(self, stack: Stack) -> StackResult | None:
        """The stack's records where the journal has them whole."""
        result = journal.read_stack(self.journal / f"{stack.key}.npz")
        if result is None or (result.cell, result.seeds) != (stack.cell.id, stack.seeds):
            return None
        return result

    def keep(self, stack: Stack, result: StackResult) -> None:
        """Put a finished stack on disk."""
        journal.write_stack(self.journal / f"{stack.key}.npz", result)

    def file(self, name: str) -> Path:
        return self._building / name

    def finish(self, manifest: Mapping[str, Any], names: list[str]) -> list[Path]:
        """Write the manifest, last of all, and move a folder built by --force into place; the files' paths."""
        hashes = {name: sha256(self.file(name).read_bytes()).hexdigest() for name in names}
        document = {
            "gradlab": "results",
            **self._own_identity(),
            **manifest,
            "finished": True,
            "sha256": hashes,
        }
        atomic.write_text(self.file(MANIFEST), json.dumps(document, indent=1) + "\n")
        if self._building != self.path:
            old = self.path.with_name(f".{self.path.name}.{os.getpid()}.old")
            if self.path.exists():
                self.path.replace(old)
            self._building.replace(self.path)
            shutil.rmtree(old, ignore_errors=True)
            self._building = self.path
        return [self.path / name for name in [*names, MANIFEST]]

    def abandon(self) -> None:
        """After a failure: leave a folder that --force was building beside nowhere."""
        if self._building != self.path:
            shutil.rmtree(self._building, ignore_errors=True)

    def _own_identity(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "schema": SCHEMA_VERSION,
            "plan": plan.id,
            "cells": [cell.id for cell in plan.cells],
            "seeds": list(plan.seeds),
            "recording": plan.recording.model_dump(),
        }

    def _identity(self) -> dict[str, Any] | None:
        """Whose results are in the folder; None when it holds none of gradlab's."""
        try:
            found = json.loads((self.path / ".journal" / "plan.json").read_text(encoding="utf-8"))
            return found if isinstance(found, dict) and "plan" in found else None
        except (OSError, ValueError):
            return None

    def _extends(self, found: Mapping[str, Any]) -> bool:
        """Whether this plan's grid contains what is there, so that its stacks can be taken over."""
        own = self._own_identity()
        same = all(found.get(key) == own[key] for key in ("schema", "seeds", "recording"))
        return same and set(found.get("cells", [])) <= set(own["cells"])
