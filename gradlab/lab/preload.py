"""What the server that workers are forked from imports.

Other code may start children from the same server, so the collector's thresholds are set back to Python's defaults at
the end. The imported objects are exempt from collection: a child whose collector visited them would write to their
memory, and the system would have to copy it for that child.
"""

import gc

from gradlab.base.gc_tuning import collect_rarely, keep_for_good

usual = gc.get_threshold()
collect_rarely()

import gradlab.lab.worker  # noqa: E402, F401

keep_for_good()
gc.set_threshold(*usual)
