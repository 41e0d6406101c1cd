"""What the server that workers are forked from imports.

The server may be its process's for other children too: they get the collector's thresholds as Python has them. What is
imported here is theirs for good, and kept so: looking at it, they would copy all of its memory.
"""

import gc

from gradlab.base.gc_tuning import collect_rarely, keep_for_good

usual = gc.get_threshold()
collect_rarely()

import gradlab.lab.worker  # noqa: E402, F401

keep_for_good()
gc.set_threshold(*usual)
