"""One torch thread for every test, as gradlab's own processes have it: bits are compared, and workers share cores."""

import os
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch; processes that tests start inherit it


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets that tests read are kept in a place of their own, which processes that tests start inherit."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder
