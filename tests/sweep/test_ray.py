"""The same stacks on a Ray cluster: the same bytes, also when a node is lost or the driver stops in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sweep.small_plans import Notes, plan_of, table_bytes

from gradlab.base.errors import ConfigError, GradlabError
from gradlab.config.plan import Cell
from gradlab.lab.experiment import execute

GRID = {"activation": ["relu", "sigmoid", "tanh"], "depth": [2, 3], "steps": 60}


def test_without_ray_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"Ray is not installed.*gradlab\[ray\]"):
        execute(plan_of(tmp_path / "out", executor="ray"))


def test_weights_are_not_sent_back(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--save-weights"):
        execute(plan_of(tmp_path / "out", executor="ray", save_weights=True))


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one core each, on this machine."""
    utilities = pytest.importorskip("ray.cluster_utils")
    found = utilities.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        yield found
    finally:
        found.shutdown()


@pytest.mark.slow
def test_a_lost_node_changes_no_byte(tmp_path: Path, cluster: Any) -> None:
    execute(plan_of(tmp_path / "here", **GRID))
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()

    class Losing(Notes):
        def cell_done(self, cell: Cell, row: Mapping[str, Any]) -> None:
            super().cell_done(cell, row)
            if len(self.cells) == 1:
                cluster.remove_node(node, allow_graceful=False)

    notes = Losing()
    outcome = execute(plan_of(tmp_path / "ray", executor="ray", ray_address=cluster.address, **GRID), notes)
    assert not outcome.failed and notes.steps == notes.total
    assert table_bytes(tmp_path / "ray") == table_bytes(tmp_path / "here")


@pytest.mark.slow
def test_a_driver_that_stops_continues_with_what_is_missing(tmp_path: Path, cluster: Any) -> None:
    execute(plan_of(tmp_path / "here", **GRID))

    class Stopping(Notes):
        def cell_done(self, cell: Cell, row: Mapping[str, Any]) -> None:
            super().cell_done(cell, row)
            if len(self.cells) == 2:
                raise KeyboardInterrupt

    plan = plan_of(tmp_path / "ray", executor="ray", ray_address=cluster.address, **GRID)
    with pytest.raises(KeyboardInterrupt):
        execute(plan, Stopping())
    notes = Notes()
    execute(plan, notes)
    assert notes.total == 4 * 2 * 60
    assert table_bytes(tmp_path / "ray") == table_bytes(tmp_path / "here")


@pytest.mark.slow
def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(GradlabError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        execute(plan_of(tmp_path / "out", executor="ray", ray_address="127.0.0.1:1"))
