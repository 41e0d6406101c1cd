"""The explorer: a page in which sliders move a net through mean-field theory, computed in the reader's browser.

    python -m gradlab.report.explorer gradlab/report/templates/explorer.html

writes it where the pages of results take it from; docs/explorer.html leads there. The activations, their kinks and
their critical weights come from the registry and from `gradlab.theory`; the formulas of the script stand in
templates/explorer.js, and a test compares every profile with `theory.predict`.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

from gradlab import theory
from gradlab.activations.lookup import registered
from gradlab.activations.registry import REGISTRY
from gradlab.report.badges import line_colours
from gradlab.report.palette import HOMES, LIGHT
from gradlab.report.resources import template


@cache
def page() -> str:
    """The page as text; the same whenever it is made."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    text = template("explorer.html.j2")
    data = json.dumps({"activations": _known()}, allow_nan=False, separators=(",", ":"))
    return environment.from_string(text).render(
        style=f"{_tokens()}{line_colours()}", script=template("explorer.js"), data=data
    )


def _known() -> list[dict[str, object]]:
    """What the script needs to know of each elementwise activation with its usual parameters, beside its formula."""
    found: list[dict[str, object]] = []
    for name in REGISTRY:
        activation = registered(name)
        if activation is None or not activation.elementwise or REGISTRY[name].short:
            continue  # short: another activation shaped, with constants that depend on the depth
        critical = theory.critical(activation).sigma_w
        found.append(
            {
                "name": name,
                "summary": activation.summary,
                "kinks": list(activation.kinks),
                "critical": None if critical is None else round(critical, 6),
                "look": (HOMES.index(name) if name in HOMES else 0) % len(LIGHT.series),
            }
        )
    return found


def _tokens() -> str:
    """The colours, sizes and spaces of the pages: the style sheet up to its first rule of an element."""
    return template("style.css").partition("* { box-sizing")[0]


if __name__ == "__main__":
    for path in sys.argv[1:]:
        Path(path).write_text(page(), encoding="utf-8")
