"""The console script `gradlab`, and `python -m gradlab`."""

from __future__ import annotations

import sys

from gradlab.base.gc_tuning import collect_rarely, keep_for_good


def console() -> int:
    """The command in a process of its own."""
    collect_rarely()
    try:
        from gradlab.cli.main import main

        return main()
    except KeyboardInterrupt:  # before `main` was there to catch it
        print("error: interrupted", file=sys.stderr)
        return 130
    finally:
        keep_for_good()


if __name__ == "__main__":
    sys.exit(console())
