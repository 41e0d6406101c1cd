"""`gradlab theory` on a terminal: the fixed point, the critical init and every layer; or a phase diagram."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from gradlab.base.text import wrapped
from gradlab.report.glyphs import Glyphs
from gradlab.theory.describe import Description

if TYPE_CHECKING:
    from rich.console import Console

MOST_LAYERS = 24
PHASES = {"ordered": "yellow", "chaotic": "red", "critical": "green"}


def print_description(found: Description, console: Console) -> None:
    """One net: its fixed point and depth scales, the critical sigma_w, then a row per layer."""
    glyphs = Glyphs.of(console)

    def line(text: str, style: str = "") -> None:
        indent = " " * 12 if text.startswith(" ") else ""
        for each in wrapped(glyphs.text(text.strip()), console.width, indent, " " * 12):
            console.print(Text(each, style=style), highlight=False)

    def quantity(name: str, value: str, meaning: str) -> None:
        line(f"{name:<12}{value}")
        line(f"{'':<12}{meaning}", "dim")

    line(f"{found.activation}, sigma_w {found.sigma_w:.6g}, sigma_b {found.sigma_b:.6g}", "bold")
    if found.q_star is None:
        value = str(found.q_star_reason)
    else:
        stability = "stable" if found.q_star_stable else "unstable"
        value = f"{found.q_star:.6g} ({stability}), xi_q = {found.xi_q:.4g} layers"
    meaning = "the variance of z that layers run to"
    quantity(
        "q*",
        value,
        meaning if found.q_star is None else f"{meaning}; every xi_q layers bring it closer by a factor e",
    )
    layers = 2 * found.gradient_scale
    scale = f"{found.chi_1:.6g}" + (
        f", so that delta changes by e in {layers:.4g} layers" if isfinite(layers) else ""
    )
    quantity(
        "chi_1", scale, "a layer's factor on delta^2: below 1 the gradient vanishes, above 1 it explodes"
    )
    c_star = "none" if found.c_star is None else f"{found.c_star:.6g}, xi_c = {found.xi_c:.4g} layers"
    quantity(
        "c*",
        c_star,
        "the correlation that two inputs run to; what told them apart is lost within some xi_c layers",
    )
    critical = found.critical
    reason = f" ({critical.reason})" if critical.reason else ""
    if critical.sigma_w is None:
        value = f"none{reason}"
    else:
        at = "" if critical.q is None else f" (q* = {critical.q:.6g})"
        value = f"sigma_w {critical.sigma_w:.6g} at sigma_b {found.sigma_b:.6g}{at}{reason}"
    quantity("critical", value, "where chi_1 = 1: the gradient keeps its size")
    if critical.half_stable is not None:
        half = critical.half_stable
        value = f"sigma_w {half.sigma_w:.6g}, sigma_b {half.sigma_b:.6g}, q {half.q:.6g}"
        quantity("half stable", value, "critical, and approached from one side alone")
    console.print()
    console.print(_layers(found), highlight=False)


def _layers(found: Description) -> Table:
    table = Table(box=None, pad_edge=False)
    banded = found.layers[0].low is not None
    for name in ("layer", "q", "chi", "delta / top", *(("band",) if banded else ())):
        table.add_column(name, justify="right", no_wrap=True)
    half = MOST_LAYERS // 2
    left_out = len(found.layers) - MOST_LAYERS
    for each in reversed(found.layers):  # as `run` shows them, and as the gradient meets them
        if left_out > 0 and half < each.layer <= half + left_out:
            if each.layer == half + left_out:
                table.add_row("...", *([""] * (3 + banded)))
            continue
        cells = [str(each.layer), f"{each.q:.6g}", f"{each.chi:.6g}", f"{each.delta_rms_ratio:.4g}"]
        if banded:
            cells.append(f"x{each.low:.3g} to x{each.high:.3g}")  # of what is measured over what is predicted
        table.add_row(*cells)
    return table


def print_phase_diagram(document: Mapping[str, Any], console: Console) -> None:
    """chi_1 over sigma_w (across) and sigma_b (down), the critical sigma_w of each row at its end."""
    console.print(
        Text(f"{document['activation']}: chi_1 by sigma_w (across) and sigma_b", style="bold"),
        highlight=False,
    )
    rows: dict[float, list[Mapping[str, Any]]] = {}
    for point in document["grid"]:
        rows.setdefault(point["sigma_b"], []).append(point)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("b \\ w", justify="right", no_wrap=True)
    for point in next(iter(rows.values())):
        table.add_column(f"{point['sigma_w']:g}", justify="right", no_wrap=True)
    table.add_column("critical", justify="right", no_wrap=True)
    for critical, (sigma_b, points) in zip(document["critical_line"], rows.items(), strict=True):
        end = "none" if critical["sigma_w"] is None else f"{critical['sigma_w']:.4f}"
        cells = [Text(f"{p['chi_1']:.3g}", style=PHASES[p["phase"]]) for p in points]
        table.add_row(f"{sigma_b:g}", *cells, end)
    console.print(table, highlight=False)
