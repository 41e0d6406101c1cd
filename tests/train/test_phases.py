"""Where a training's seconds go: each lap has its own, and what a sensor took of it counts as recording."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gradlab.train import phases


def test_every_second_is_in_one_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 103.0, 110.0, 111.5])
    monkeypatch.setattr(phases, "perf_counter", lambda: next(clock))
    found = phases.Phases()
    found.start()
    found.lap("forward")
    found.lap("backward", [SimpleNamespace(seconds=2.0), SimpleNamespace(seconds=0.5)])
    found.lap("forward")
    seconds = {name: value for name, value in found.seconds.items() if value}
    assert seconds == {"forward": 4.5, "backward": 4.5, "recording": 2.5}
    assert sum(seconds.values()) == 111.5 - 100.0
