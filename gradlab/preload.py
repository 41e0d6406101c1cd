"""What the server that workers are forked from imports."""

from gradlab.garbage import collect_rarely, keep_for_good

collect_rarely()

import gradlab.sweep.worker  # noqa: E402, F401

keep_for_good()
