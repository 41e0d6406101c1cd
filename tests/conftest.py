"""One torch thread for every test, as gradlab's own processes have it: bits are compared, and workers share cores."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch; processes that tests start inherit it


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets that tests read are kept in a place of their own, which processes that tests start inherit."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder


def pytest_collection_finish() -> None:
    """What is imported by now lives to the end: the collector need not walk through half a million objects again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def draw_only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """draw_only("learning"): reports draw no other figure. A figure costs up to a second."""

    def choose(*names: str) -> None:
        from gradlab.base.registry import Registry
        from gradlab.report import figures

        monkeypatch.setattr(
            figures, "FIGURES", Registry("figure", {name: figures.FIGURES[name] for name in names})
        )

    return choose


@pytest.fixture
def two_figures(draw_only: Callable[..., None]) -> None:
    """One figure of each cell and one of them all: enough where the figures are not the subject."""
    draw_only("learning", "by_depth")
