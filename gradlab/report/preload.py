"""What the server that figures' processes are forked from imports.

It draws a small figure, too: matplotlib's fonts and its parser of formulas are then there for all of its workers.
"""

from io import BytesIO

import matplotlib.backends.backend_pdf
import matplotlib.backends.backend_svg  # noqa: F401

from gradlab.report.axes import new_figure
from gradlab.report.figures import FIGURES  # noqa: F401

figure = new_figure(1.0)
figure.suptitle("$10^{0}$")
figure.savefig(BytesIO(), format="png")
