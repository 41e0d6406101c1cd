"""What a results folder is for each plan: new, to be continued, finished, extended, or somebody else's."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sweep.small_plans import TABLES, Notes, plan_of, table_bytes

from gradlab.base import blas
from gradlab.base.errors import ConfigError, DataError, GradlabError, Problem, UserError
from gradlab.config import plan as plans
from gradlab.config.plan import Cell, Plan
from gradlab.lab import sweep
from gradlab.lab.experiment import Outcome, execute
from gradlab.report.build import build
from gradlab.store import folder as folders
from gradlab.store.folder import Claim, ResultsFolder
from gradlab.store.results import read_folder
from gradlab.tables.spec import SCHEMA_VERSION


def run(plan: Plan) -> tuple[Outcome, Notes]:
    notes = Notes()
    return execute(plan, notes), notes


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of the small comparison, from one undisturbed run."""
    out = tmp_path_factory.mktemp("reference") / "out"
    run(plan_of(out))
    return table_bytes(out)


def test_two_runs_write_the_same_bytes(tmp_path: Path, reference: dict[str, bytes]) -> None:
    outcome, notes = run(plan_of(tmp_path / "out"))
    assert table_bytes(tmp_path / "out") == reference
    assert not outcome.cached and not notes.messages
    assert notes.total == notes.steps == 4 * 2 * 6
    assert notes.cells == [cell.id for cell in outcome.plan.cells]
    assert notes.ends == 1


def test_a_finished_folder_is_shown_not_trained(tmp_path: Path) -> None:
    first, _ = run(plan_of(tmp_path / "out"))
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    again, notes = run(plan_of(tmp_path / "out"))
    assert again.cached and notes.total == notes.steps == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == times
    for name in ("layers", "steps", "summary"):
        import pandas as pd

        pd.testing.assert_frame_equal(getattr(again, name), getattr(first, name))
    assert again.files == first.files
    assert again.timings == first.timings


def test_a_finished_folder_needs_no_permission_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(plan_of(tmp_path / "out"))

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folders.atomic, "write", refuse)
    monkeypatch.setattr(folders, "Lock", refuse)
    assert run(plan_of(tmp_path / "out"))[0].cached


def test_a_copy_without_its_journal_is_still_gradlabs(tmp_path: Path, reference: dict[str, bytes]) -> None:
    """Its records are gone, so it is trained again; it is no stranger's folder."""
    out = tmp_path / "out"
    run(plan_of(out))
    shutil.rmtree(out / ".journal")
    run(plan_of(out))
    assert table_bytes(out) == reference
    shutil.rmtree(out / ".journal")
    with pytest.raises(UserError, match="another configuration"):
        run(plan_of(out, lr=0.5))


def test_an_unfinished_folder_is_continued(tmp_path: Path, reference: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    run(plan_of(out))
    (out / "manifest.json").unlink()
    (out / "layers.csv").unlink()
    for stack in plan_of(out).stacks()[1:3]:
        (out / ".journal" / f"{stack.key}.npz").unlink()
    outcome, notes = run(plan_of(out))
    assert notes.total == notes.steps == 2 * 2 * 6
    assert not outcome.cached
    assert table_bytes(out) == reference
    assert len(notes.cells) == 4


def test_a_larger_grid_takes_up_what_is_there(tmp_path: Path, reference: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    run(plan_of(out, activation=["relu"], depth=[3]))
    outcome, notes = run(plan_of(out))
    assert notes.total == 3 * 2 * 6
    assert table_bytes(out) == reference
    assert len(outcome.summary) == 4


@pytest.mark.parametrize("change", [{"seeds": 3}, {"probe": "all"}, {"lr": 0.5}, {"activation": ["tanh"]}])
def test_another_configuration_is_refused_and_nothing_touched(
    tmp_path: Path, change: dict[str, object]
) -> None:
    out = tmp_path / "out"
    run(plan_of(out))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="another configuration") as caught:
        run(plan_of(out, **change))
    assert caught.value.exit_code == 2
    assert "--force" in str(caught.value)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_force_replaces_results(tmp_path: Path, reference: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    run(plan_of(out, lr=0.5))
    (out / "report.html").write_text("of the old results")
    outcome, notes = run(plan_of(out, force=True))
    assert table_bytes(out) == reference
    assert notes.total == 4 * 2 * 6
    assert not (out / "report.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert all(path.is_relative_to(out) and path.exists() for path in outcome.files)
    assert run(plan_of(out))[0].cached


def test_force_leaves_the_old_results_until_the_new_ones_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, bytes]
) -> None:
    """And what it had built is taken up by the next --force."""
    out = tmp_path / "out"
    run(plan_of(out, lr=0.5))
    before = table_bytes(out)
    failing_after(monkeypatch, 2)
    with pytest.raises(GradlabError, match="No space left"):
        run(plan_of(out, force=True))
    assert table_bytes(out) == before
    monkeypatch.undo()
    _, notes = run(plan_of(out, force=True))
    assert notes.total == 2 * 2 * 6
    assert table_bytes(out) == reference
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_another_force_began_is_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    run(plan_of(out, lr=0.5))
    failing_after(monkeypatch, 2)
    with pytest.raises(GradlabError, match="No space left"):
        run(plan_of(out, lr=0.7, force=True))
    monkeypatch.undo()
    (beside,) = tmp_path.glob(".out.*.new")
    (beside / "link").symlink_to(tmp_path)
    _, notes = run(plan_of(out, force=True))
    assert notes.total == 4 * 2 * 6
    assert table_bytes(out) == reference and not (out / "link").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (out / ".journal").glob("*.npz")) == sorted(
        f"{stack.key}.npz" for stack in plan_of(out).stacks()
    )


class Killed(BaseException):
    """The process ends here: nobody catches it."""


@pytest.mark.parametrize("moment", range(4))
@pytest.mark.parametrize("then", [{}, {"force": True}])
def test_a_swap_killed_at_any_moment_loses_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reference: dict[str, bytes],
    moment: int,
    then: dict[str, Any],
) -> None:
    """Before the first move, between the two, before the old results are removed, and while they are."""
    out = tmp_path / "out"
    run(plan_of(out, activation=["relu"], depth=[2]))
    old = table_bytes(out)
    replace, remove, left = Path.replace, shutil.rmtree, [moment]

    def move(self: Path, target: Path) -> Path:
        if tmp_path in (self.parent, target.parent) and (left := left_of()) == 0:
            raise Killed(left)
        return replace(self, target)

    def left_of() -> int:
        left[0] -= 1
        return left[0] + 1

    def half_remove(path: Path, **options: Any) -> None:
        if moment == 3:
            remove(path / ".journal")
        raise Killed

    monkeypatch.setattr(Path, "replace", move)
    monkeypatch.setattr(shutil, "rmtree", half_remove)
    with pytest.raises(Killed):
        run(plan_of(out, force=True))
    monkeypatch.undo()
    there = table_bytes(out) if out.exists() else table_bytes(next(tmp_path.glob(".out.*.old")))
    assert there == (old if moment < 2 else reference)
    if not then and moment < 2:  # the old results are back, and the grid that contains them goes on from them
        run(plan_of(out, activation=["relu"], depth=[2]))
        assert table_bytes(out) == old
    _, notes = run(plan_of(out, **then))
    assert table_bytes(out) == reference
    assert notes.total == (0 if then and moment < 2 else {0: 36, 1: 36}.get(moment, 48 if then else 0))
    left_over = {path.name.rpartition(".")[2] for path in tmp_path.iterdir()} - {"out"}
    assert left_over <= {"old", "new"} if not then else not left_over


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


STRANGERS = {
    "folders": lambda place: place.mkdir(),
    "links": lambda place: place.symlink_to(_new(place.parent / f"victim-of{place.name}")),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_force_leaves_alone_what_it_has_not_made(
    tmp_path: Path, stranger: str, reference: dict[str, bytes]
) -> None:
    """A name is no proof of who made a folder."""
    out = tmp_path / "out"
    names = (".out.new", ".out.old", ".out.0123456789abcdef.new", ".out.0123456789abcdef.old")
    places = [tmp_path / name for name in names]
    run(plan_of(out, lr=0.5))
    for place in places:
        STRANGERS[stranger](place)
        (place / "thesis.tex").write_text("years of work")
    for _ in range(2):
        run(plan_of(out, force=True))
        assert table_bytes(out) == reference
        for place in places:
            assert place.is_symlink() == (stranger == "links"), place
            assert [path.name for path in place.iterdir()] == ["thesis.tex"], place
    out.rename(tmp_path / "elsewhere")
    run(plan_of(out, activation=["relu"], depth=[2], steps=0))
    assert all((place / "thesis.tex").read_text() == "years of work" for place in places)
    assert not (out / "thesis.tex").exists()


def test_a_link_in_the_place_of_an_unfinished_force_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, bytes]
) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    run(plan_of(out, lr=0.5))
    failing_after(monkeypatch, 2)
    with pytest.raises(GradlabError, match="No space left"):
        run(plan_of(out, force=True))
    monkeypatch.undo()
    (beside,) = tmp_path.glob(".out.*.new")
    beside.rename(victim)
    beside.symlink_to(victim)
    before = sorted(victim.rglob("*"))
    run(plan_of(out, force=True))
    assert table_bytes(out) == reference
    assert beside.is_symlink() and sorted(victim.rglob("*")) == before


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_other_files_is_never_used(tmp_path: Path, force: bool) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="no gradlab results"):
        run(plan_of(out, force=force))
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_journal_alone_makes_no_folder_gradlabs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    (out / ".journal").mkdir(parents=True)
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="no gradlab results"):
        run(plan_of(out, force=True))
    (out / "thesis.tex").unlink()
    run(plan_of(out))
    (out / "inner").mkdir()
    monkeypatch.chdir(out / "inner")
    for place in (Path(".."), Path("../../out"), out):
        with pytest.raises(UserError, match="cannot replace the working directory"):
            run(plan_of(place, force=True))


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="it is a file"):
        run(plan_of(tmp_path / "out"))


def test_a_start_that_was_killed_before_it_wrote_is_no_obstacle(tmp_path: Path) -> None:
    journal = tmp_path / "out" / ".journal"
    journal.mkdir(parents=True)
    (journal / "lock").write_text("")
    left, others = journal / ".gradlab-0123456789abcdef.part", journal / ".film.part"
    left.write_text("{")
    others.write_text("half a film")
    run(plan_of(tmp_path / "out", activation=["relu"], depth=[2], steps=0))
    assert not left.exists() and others.exists()


def test_results_of_another_schema_version_are_refused_by_name(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_of(out, activation=["relu"], depth=[2], steps=0))
    path = out / ".journal" / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(UserError, match=f"schema version 99, this gradlab writes {SCHEMA_VERSION}"):
        run(plan_of(out, activation=["relu"], depth=[2], steps=0))


# -- damage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("damage", ["torn", "foreign", "another cell's"])
def test_a_damaged_stack_is_named_and_trained_again(
    tmp_path: Path, finished: bool, damage: str, reference: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    run(plan_of(out))
    if not finished:
        (out / "manifest.json").unlink()
    first, second = (out / ".journal" / f"{stack.key}.npz" for stack in plan_of(out).stacks()[:2])
    if damage == "torn":
        first.write_bytes(first.read_bytes()[:-100])
    elif damage == "foreign":
        np.savez(first, a=np.zeros(3))
    else:
        first.write_bytes(second.read_bytes())
    _, notes = run(plan_of(out))
    assert len(notes.messages) == 1 and str(first) in notes.messages[0]
    assert "trained again" in notes.messages[0]
    assert notes.total == 2 * 6
    assert table_bytes(out) == reference


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("damage", ["a byte", "missing", "empty"])
def test_damaged_weights_are_named_and_trained_again(
    tmp_path: Path, damage: str, finished: bool, reference: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    run(plan_of(out, save_weights=True))
    files = sorted((out / "weights").iterdir())
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    whole = files[0].read_bytes()
    if not finished:
        (out / "manifest.json").unlink()
    if damage == "missing":
        files[0].unlink()
    else:
        files[0].write_bytes(b"" if damage == "empty" else whole[:-1] + bytes([whole[-1] ^ 1]))
    outcome, notes = run(plan_of(out, save_weights=True))
    assert not outcome.cached and notes.total == 2 * 6
    assert len(notes.messages) == 1 and str(files[0]) in notes.messages[0]
    assert "trained again" in notes.messages[0]
    assert files[0].read_bytes() == whole and table_bytes(out) == reference
    assert json.loads((out / "manifest.json").read_text())["weights"] == sums
    again, notes = run(plan_of(out, save_weights=True))
    assert again.cached and not notes.messages


def test_weights_asked_for_later_are_trained_for_without_complaint(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_of(out))
    _, notes = run(plan_of(out, save_weights=True))
    assert notes.total == 4 * 2 * 6 and not notes.messages
    assert run(plan_of(out))[0].cached and run(plan_of(out, save_weights=True))[0].cached


@pytest.mark.parametrize("name", [*TABLES, "config.toml", "manifest.json"])
def test_a_changed_file_of_finished_results_is_named_and_written_again(
    tmp_path: Path, name: str, reference: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    run(plan_of(out))
    config = (out / "config.toml").read_bytes()
    whole = (out / name).read_bytes()
    (out / name).write_bytes(whole[: len(whole) // 2])
    _, notes = run(plan_of(out))
    assert len(notes.messages) == 1 and str(out / name) in notes.messages[0]
    assert notes.total == 0
    assert table_bytes(out) == reference
    assert (out / "config.toml").read_bytes() == config
    assert run(plan_of(out))[0].cached


def test_another_format_of_the_tables_is_added_without_training(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_of(out, tables="csv"))
    outcome, notes = run(plan_of(out, tables="both"))
    assert notes.total == 0 and (out / "summary.parquet").exists()
    again, _ = run(plan_of(out, tables="parquet"))
    assert again.cached
    import pandas as pd

    pd.testing.assert_frame_equal(again.summary, outcome.summary, check_dtype=False)


# -- trouble while writing ---------------------------------------------------------------------------------------


def failing_after(monkeypatch: pytest.MonkeyPatch, stacks: int) -> None:
    """Make the disk full once so many stacks are on it."""
    write, left = folders.journal.write_stack, [stacks]

    def fail(*args: object) -> None:
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        left[0] -= 1
        write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(folders.journal, "write_stack", fail)


def test_a_full_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    failing_after(monkeypatch, 3)
    with pytest.raises(GradlabError, match="No space left on device") as caught:
        run(plan_of(out))
    assert caught.value.exit_code == 1 and "continues" in str(caught.value.hint)
    monkeypatch.undo()
    _, notes = run(plan_of(out))
    assert notes.total == 2 * 6
    assert table_bytes(out) == reference


def test_a_full_disk_at_the_tables_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, bytes]
) -> None:

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    monkeypatch.setattr(folders, "write_csv", full)
    with pytest.raises(GradlabError, match="No space left on device"):
        run(plan_of(out))
    assert not (out / "manifest.json").exists()
    monkeypatch.undo()
    run(plan_of(out))
    assert table_bytes(out) == reference


def test_an_unwritable_place_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    """A file where a parent folder should be: permissions would not stop the administrator."""
    (tmp_path / "file").write_text("")
    notes = Notes()
    with pytest.raises(GradlabError, match="cannot write to"):
        execute(plan_of(tmp_path / "file" / "out"), notes)
    assert notes.steps == 0 and notes.ends == 1


def test_a_read_only_table_is_replaced(tmp_path: Path, reference: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    run(plan_of(out, activation=["relu"]))
    (out / "summary.csv").chmod(0o444)
    run(plan_of(out))
    assert table_bytes(out) == reference


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "import sys; sys.path.insert(0, 'tests')\nfrom pathlib import Path\n"
    code += "from sweep.small_plans import plan_of; from gradlab.store.folder import Claim, ResultsFolder\n"
    code += "folder = ResultsFolder(Claim.of(plan_of(Path(sys.argv[1])))); folder.prepare()\n"
    code += "print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(out)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"process {first.pid} on ") as caught:
            run(plan_of(out))
        assert caught.value.exit_code == 2
        with pytest.raises(UserError, match=f"process {first.pid} on "):
            run(plan_of(out, force=True))
        first.kill()
    run(plan_of(out))
    assert (out / "manifest.json").exists()


def test_results_that_came_after_the_look_are_not_overwritten(tmp_path: Path) -> None:
    """Two commands start at once on an empty place; the one that gets the lock second looks again."""
    out = tmp_path / "out"
    second = folders.ResultsFolder(folders.Claim.of(plan_of(out, lr=0.5)))
    assert second.state() == "new"
    run(plan_of(out))
    before = table_bytes(out)
    with pytest.raises(UserError, match="another configuration"):
        second.prepare()
    second.close()
    assert table_bytes(out) == before


def test_data_that_change_under_a_sweep_are_told_and_not_kept(tmp_path: Path) -> None:
    """Every worker process reads them anew."""
    file, out = tmp_path / "points.csv", tmp_path / "out"
    rows = ["a,b", *(f"{i % 7},{'xy'[i % 2]}" for i in range(60))]
    file.write_text("\n".join(rows))
    plan = plan_of(out, data=str(file), target="b", workers=2)
    file.write_text("\n".join([*rows, "3,x"]))
    outcome, _ = run(plan)
    assert len(outcome.failed) == 4 and len(outcome.summary) == 0
    assert all("has changed since this was planned" in failure.message for failure in outcome.failed)
    assert not list((out / ".journal").glob("*.npz"))
    plans._loaded.clear()
    with pytest.raises(DataError, match="has changed"):
        run(plan)


def test_an_activation_that_changes_under_a_sweep_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "moving_phi.py").write_text("import torch\ndef phi(z):\n    return torch.tanh(z)\n")
    plan = plan_of(tmp_path / "out", activation=["moving_phi:phi"], depth=[2], workers=1)
    (tmp_path / "moving_phi.py").write_text("import torch\ndef phi(z):\n    return torch.relu(z)\n")
    outcome, _ = run(plan)
    assert "module 'moving_phi' has changed since it was imported" in outcome.failed[0].message
    assert not list((tmp_path / "out" / ".journal").glob("*.npz"))


def test_an_activation_that_changes_while_a_sweep_runs_fails_the_cells_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "moving_psi.py").write_text("import torch\ndef psi(z):\n    return torch.tanh(z)\n")
    plan = plan_of(tmp_path / "out", activation=["tanh", "moving_psi:psi"], depth=[2], workers=1)
    for stack in plan.stacks():
        assert stack.bound
    (tmp_path / "moving_psi.py").write_text("import torch\ndef psi(z):\n    return torch.relu(z)\n")
    outcome, _ = run(plan)
    assert "moving_psi:psi: it has changed" in outcome.failed[0].message
    assert list(outcome.summary["activation"]) == ["tanh"]


def test_a_place_that_force_builds_for_is_taken(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = folders.ResultsFolder(folders.Claim.of(plan_of(out, force=True)))
    first.prepare()
    with pytest.raises(UserError, match="another gradlab writes there"):
        run(plan_of(out, lr=0.5))
    first.close()
    run(plan_of(out, lr=0.5))


def test_a_link_stays_one_and_here_is_a_place(
    tmp_path: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "out"
    link.symlink_to(tmp_path / "disk")
    run(plan_of(link, lr=0.5))
    for _ in range(2):
        run(plan_of(link, force=True))
        assert link.is_symlink() and table_bytes(tmp_path / "disk") == reference
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "out"}
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run(plan_of(Path()))
    assert table_bytes(Path()) == reference
    with pytest.raises(UserError, match="cannot replace the working directory"):
        run(plan_of(Path(), force=True))


def test_a_larger_grid_leaves_no_table_of_the_smaller_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_of(out, activation=["relu"]))
    run(plan_of(out, tables="parquet"))
    assert not (out / "summary.csv").exists() and len(read_folder(out).summary) == 4


@pytest.mark.parametrize("damage", ["", "[]", "[" * 100_000, '{"plan": 1, "cells": 5}', None])
def test_a_journal_without_its_plan_is_named_and_force_helps(
    tmp_path: Path, reference: dict[str, bytes], damage: str | None
) -> None:
    out = tmp_path / "out"
    run(plan_of(out))
    path = out / ".journal" / "plan.json"
    (out / "manifest.json").unlink()
    path.unlink() if damage is None else path.write_text(damage)
    with pytest.raises(UserError, match=r"plan\.json is missing or damaged"):
        run(plan_of(out))
    run(plan_of(out, force=True))
    assert table_bytes(out) == reference
    path.unlink() if damage is None else path.write_text(damage)
    if damage != '{"plan": 1, "cells": 5}':
        assert run(plan_of(out))[1].total == 0, "the manifest knows it, too"


def test_records_that_leave_the_journal_are_an_error_in_words(tmp_path: Path) -> None:
    out = tmp_path / "out"

    class Thief(Notes):
        def cell_done(self, cell: Cell, row: Mapping[str, Any]) -> None:
            for path in (out / ".journal").glob("*.npz"):
                path.unlink()

    with pytest.raises(GradlabError, match="have left the journal"):
        execute(plan_of(out, workers=1), Thief())
    run(plan_of(out))


def test_a_lock_is_no_way_to_another_file(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("years of work")
    (tmp_path / "out" / ".journal").mkdir(parents=True)
    (tmp_path / "out" / ".journal" / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(GradlabError, match="cannot write"):
        run(plan_of(tmp_path / "out"))
    assert (tmp_path / "victim").read_text() == "years of work"


def test_the_manifest_says_what_multiplied(tmp_path: Path) -> None:
    run(plan_of(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["products"] == blas.name()


@pytest.mark.parametrize(
    "entry", [{"failed": 5}, {"failed": ["x", {"a": 1}]}, {"timings": None}, {"versions": [1]}, {"argv": 3},
              {"device": 5}, {"sha256": 5}, {"chance": []}]
)  # fmt: skip
def test_a_manifest_that_somebody_wrote_is_read_as_far_as_it_goes(tmp_path: Path, entry: Any) -> None:
    out = tmp_path / "out"
    run(plan_of(out))
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | entry))
    assert build([out], ("html", "md")).files
    (out / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="is not JSON"):
        build([out], ("md",))


@pytest.mark.parametrize("force", [False, True])
def test_what_is_refused_before_anything_is_trained_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    def refused(*_: object, **__: object) -> Iterator[object]:
        raise ConfigError(Problem("--executor", "it is not installed", "local"))

    monkeypatch.setattr(sweep, "train", refused)
    with pytest.raises(ConfigError):
        execute(plan_of(tmp_path / "a" / "out", force=force))
    assert not [*tmp_path.iterdir()]


def test_what_is_refused_keeps_what_was_trained_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(plan_of(tmp_path / "out"))
    (tmp_path / "out" / "manifest.json").unlink()
    lost, *kept = (tmp_path / "out" / ".journal").glob("*.npz")
    lost.unlink()

    def refused(*_: object, **__: object) -> Iterator[object]:
        raise ConfigError(Problem("--executor", "it is not installed", "local"))

    monkeypatch.setattr(sweep, "train", refused)
    with pytest.raises(ConfigError):
        execute(plan_of(tmp_path / "out"))
    assert sorted((tmp_path / "out" / ".journal").glob("*.npz")) == sorted(kept) and kept


@pytest.mark.parametrize(
    "name", ["manifest.json", "config.toml", "layers.csv", ".journal/plan.json", ".journal/*.npz"]
)
def test_a_pipe_in_a_files_place_makes_nobody_wait(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    first, _ = run(plan_of(out))
    (path,) = [*out.glob(name)][:1]
    ended = []

    def again() -> None:
        for read in (lambda: run(plan_of(out)), lambda: read_folder(out).config):
            path.unlink()
            os.mkfifo(path)
            with suppress(UserError):  # without a table there is nothing to read
                ended.append(read())

    thread = threading.Thread(target=again, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it waits for a writer"
    again_found, notes = ended[0]
    assert again_found.files == first.files
    assert bool(notes.messages) == (name != ".journal/plan.json")


def test_a_grid_that_shares_some_cells_is_another(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_of(out, activation=["relu", "sigmoid"], depth=[2], steps=0))
    before = table_bytes(out)
    with pytest.raises(UserError, match="a grid that contains the old one"):
        run(plan_of(out, activation=["relu", "tanh"], depth=[2], steps=0))
    assert table_bytes(out) == before


def test_a_folder_that_is_written_to_is_not_finished(tmp_path: Path) -> None:
    """The manifest goes before anything else changes: whoever reads in between sees unfinished results."""
    out = tmp_path / "out"
    run(plan_of(out, activation=["relu"], depth=[2], steps=0))
    larger = plan_of(out, activation=["relu", "tanh"], depth=[2], steps=0)
    folder = ResultsFolder(Claim.of(larger))
    folder.prepare()
    assert not (out / "manifest.json").exists() and folder.state() == "unfinished"
    folder.close()
