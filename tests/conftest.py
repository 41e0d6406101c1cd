"""One torch thread for every test, as gradlab's own processes have it: bits are compared, and workers share cores."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch; processes that tests start inherit it
