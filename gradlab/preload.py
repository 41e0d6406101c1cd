"""What the server that workers are forked from imports.

The server may be its process's for other children too: they get the collector as Python has it.
"""

import gc

from gradlab.garbage import collect_rarely

usual = gc.get_threshold()
collect_rarely()

import gradlab.sweep.worker  # noqa: E402, F401

gc.set_threshold(*usual)
