"""Python's garbage collector in gradlab's own processes.

Importing torch makes hundreds of thousands of objects that live to the end. The collector looks at all of them again
and again during the import, and once more at the exit: together half a second of a short run.
"""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Have what is new looked at after so many new objects, and everything after a thousand such looks."""
    gc.set_threshold(50_000, 20, 50)


def keep_for_good() -> None:
    """Have everything that is there now never looked at again: not by the collector, not at the exit."""
    gc.freeze()
