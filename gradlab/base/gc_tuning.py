"""Python's garbage collector in gradlab's own processes.

Importing torch makes hundreds of thousands of objects that live to the end. The collector looks at all of them again
and again during the import, and once more at the exit: together half a second of a short run.
"""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Make collections rare: of young objects after every 50,000 new ones, of all objects after 1,000 of those."""
    gc.set_threshold(50_000, 20, 50)


def keep_for_good() -> None:
    """Exempt all objects that exist now from collection, and from the one at the exit."""
    gc.freeze()
