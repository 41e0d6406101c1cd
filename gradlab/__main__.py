"""The console script `gradlab`, and `python -m gradlab`."""

from __future__ import annotations

import sys

from gradlab.base.gc_tuning import collect_rarely, keep_for_good


def console() -> int:
    """The command in a process of its own."""
    collect_rarely()
    from gradlab.cli.main import main

    try:
        return main()
    finally:
        keep_for_good()


if __name__ == "__main__":
    sys.exit(console())
