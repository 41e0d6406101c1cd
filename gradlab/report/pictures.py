"""The drawings of a page's first screen and of its explanations, from numbers to SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradlab.analyse.headline import times
from gradlab.report.explained import Budget
from gradlab.report.selections import Array
from gradlab.report.svg import Drawing, plain_power, power

ROOM = 10.0
"""units between words and a line that are enough"""
STRIDES = (1, 2, 3, 4, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Way:
    """delta_rms of the hidden layers at one record, layer 1 first, in log10; -inf is an exact 0, NaN not a number.

    mean, low, high: the mean of the logarithms over the seeds, and the lowest and the highest seed's
    theory: the prediction, NaN where there is none
    beside: layers and means of each branch and head, where these layers are a stream's
    axis: what `layers` counts: layers, or the steps of a sequence
    """

    layers: Array
    mean: Array
    low: Array
    high: Array
    theory: Array
    seeds: int
    beside: tuple[tuple[Array, Array], ...] = ()
    axis: str = "layer"

    @property
    def decades(self) -> float:
        """From the top hidden layer down to layer 1."""
        return float(self.mean[0] - self.mean[-1]) if len(self.mean) > 1 else np.nan


def way_down(way: Way, look: int, wide: bool) -> Drawing:
    """delta against layer, with an arrow from what the top layer has down to what layer 1 gets."""
    width, height = (620.0, 440.0) if wide else (340.0, 330.0)
    left, right, top, bottom = 48.0, 12.0, 14.0, 44.0
    drawing = Drawing(width, height, _way_label(way), look, "w" if wide else "n")
    others = [mean for _, mean in way.beside]
    known = np.concatenate([v[np.isfinite(v)] for v in (way.mean, way.low, way.high, way.theory, *others)])
    low, high = (float(known.min()), float(known.max())) if known.size else (-1.0, 0.0)
    low, high = np.floor(low), max(np.ceil(high), np.floor(low) + 1)
    zero = any(np.isneginf(v).any() for v in (way.mean, *others))
    floor = low - (0.08 * (high - low) if zero else 0.0)
    y = _scale(floor, high, height - bottom, top)
    every = np.unique(np.concatenate([way.layers, *(layers for layers, _ in way.beside)]))
    first, last = float(every[0]), float(every[-1])
    x = _scale(first, last, left + 18, width - right - 8) if last > first else lambda _: (left + width) / 2
    stride = next(s for s in STRIDES if (high - low) / s <= 7)
    for k in range(int(low), int(high) + 1):
        if k % stride == 0:
            drawing.path([(left, y(k)), (width - right, y(k))], "g")
            drawing.text(left - 7, y(k) + 4, power(k), anchor="end")
    if zero:
        drawing.path([(left, y(floor)), (width - right, y(floor))], "g")
        drawing.text(left - 7, y(floor) + 4, "0", anchor="end")
    for layer in _layer_ticks(every):
        drawing.text(x(layer), height - bottom + 20, f"{layer:.0f}", anchor="middle")
    words = "layer (input side left, loss side right)" if way.axis == "layer" else "step (first input left)"
    drawing.text((left + width) / 2, height - 6, words, anchor="middle")
    places = [x(float(layer)) for layer in way.layers]
    if way.seeds > 1 and np.isfinite(way.low).all() and np.isfinite(way.high).all():
        ends = [(u, y(v)) for u, v in zip(places, way.high, strict=True)]
        drawing.area([*ends, *((u, y(v)) for u, v in zip(places[::-1], way.low[::-1], strict=True))], "bd")
    top_value = float(way.mean[-1])
    falls = np.isfinite(top_value) and abs(way.decades) >= 0.3
    if falls:
        drawing.path([(places[0], y(top_value)), (places[-1], y(top_value))], "ref")
    for layers, mean in way.beside:
        points = [(x(u), y(floor if np.isneginf(v) else v)) for u, v in zip(layers, mean, strict=True)]
        drawing.path(points, "thin")
        for u, v in points:
            if np.isfinite(v):
                drawing.ring(u, v, 2.2)
    drawing.path([(u, y(v)) for u, v in zip(places, way.mean, strict=True)], "ln")
    if np.isfinite(way.theory).any():
        drawing.path([(u, y(v)) for u, v in zip(places, way.theory, strict=True)], "th")
    size = 3.6 if len(places) <= 60 else 2.0
    for u, v in zip(places, way.mean, strict=True):
        drawing.mark(u, y(floor if np.isneginf(v) else v), size)
    if falls:
        heights = [y(floor if np.isneginf(v) else float(v)) for v in way.mean]
        _arrow(drawing, way, places, heights, y(top_value))
    return drawing


def _arrow(
    drawing: Drawing, way: Way, places: Sequence[float], heights: Sequence[float], start: float
) -> None:
    """From what the top layer has, `start`, to what layer 1 gets, with words where the line leaves room for them."""
    x, end = places[0] - 12, heights[0]
    sign = 1 if end > start else -1
    drawing.path([(x, start), (x, end)], "arr")
    drawing.path([(x - 4, start), (x + 4, start)], "arr")
    drawing.area([(x, end), (x - 4, end - 9 * sign), (x + 4, end - 9 * sign)], "arrh")
    if abs(end - start) < 60:
        return
    decades = way.decades
    change = f"{plain_power(times(decades))} times {'less' if decades < 0 else 'more'}"
    words = (
        "nothing arrives" if np.isneginf(decades) else change,
        f"at {way.axis} {way.layers[0]:.0f} than at {way.axis} {way.layers[-1]:.0f}",
    )
    left, baseline = _room(words, (x + 14, drawing.width - 12), sorted((start, end)), places, heights)
    drawing.text(left, baseline, words[0], "b")
    drawing.text(left, baseline + 16, words[1])


def _room(
    words: tuple[str, str], sides: tuple[float, float], span: Sequence[float], places: Sequence[float],
    heights: Sequence[float],
) -> tuple[float, float]:  # fmt: skip
    """Where two lines of words begin, (x, baseline of the first), so that the line through (places, heights) stays away
    from them: at the left end of `sides` where there is room, else at its right end, else where it comes least near."""
    width = max(8.6 * len(words[0]), 6.6 * len(words[1]))
    found = []
    for left in (sides[0], sides[1] - width):
        across = np.linspace(left, left + width, 40)
        line = np.interp(across, places, heights, left=np.nan, right=np.nan)
        for baseline in np.linspace(span[0] + 24, span[1] - 20, 9):
            gaps = np.maximum(baseline - 14 - line, line - (baseline + 20))
            near = float(np.min(gaps[np.isfinite(gaps)], initial=np.inf))
            found.append((min(near, ROOM), left, float(baseline)))
    _, left, baseline = max(found, key=lambda place: place[0])
    return left, baseline


def _way_label(way: Way) -> str:
    ends = [
        f"10^{v:.1f}" if np.isfinite(v) else "0" if np.isneginf(v) else "no number" for v in way.mean[[0, -1]]
    ]
    first, last = (f"{way.axis} {layer:.0f}" for layer in way.layers[[0, -1]])
    return f"the gradient by {way.axis} on a log axis: {ends[0]} in {first}, {ends[1]} in {last}"


def spark(way: Way, look: int, span: tuple[float, float], depth: int) -> Drawing:
    """A small profile of `depth` layers, layer 1 at the left; `span`: decades, one scale for all."""
    width, height = 72.0, 30.0
    drawing = Drawing(width, height, "", look, "small")
    y = _scale(span[0], span[1], height - 4, 4)
    x = _scale(1.0, float(max(depth, 2)), 6.0, width - 4)
    relative = way.mean - way.mean[-1]
    places = [x(float(layer)) for layer in way.layers]
    drawing.path([(places[0], y(0.0)), (places[-1], y(0.0))], "g")
    shown = np.clip(np.where(np.isneginf(relative), span[0], relative), *span)
    drawing.path([(u, y(v)) for u, v in zip(places, shown, strict=True)], "ln")
    drawing.mark(places[0], y(float(shown[0])) if np.isfinite(shown[0]) else np.nan, 3.4)
    return drawing


def strip(
    values: Sequence[float], mean: float, ends: tuple[float, float], look: int, chance: float | None,
    span: tuple[float, float],
) -> Drawing:  # fmt: skip
    """A score on a line from span[0] to span[1]: the mean, a ring a seed, and the interval cut to what is possible."""
    width, height, middle = 110.0, 22.0, 11.0
    drawing = Drawing(width, height, "", look, "small")
    x = _scale(span[0], span[1], 8.0, width - 8)
    drawing.path([(x(span[0]), middle), (x(span[1]), middle)], "g")
    if chance is not None and span[0] <= chance <= span[1]:
        drawing.path([(x(chance), 2), (x(chance), height - 2)], "ref")
    if np.isfinite(mean):
        low, high = (float(np.clip(end, *span)) for end in ends)
        if np.isfinite(low) and np.isfinite(high):
            drawing.rect(x(low), middle - 3, x(high) - x(low), 6, "bd")
        for value in values:
            if np.isfinite(value):
                drawing.ring(x(float(np.clip(value, *span))), middle, 3)
        drawing.mark(x(float(np.clip(mean, *span))), middle, 3.8)
    return drawing


def tolerance_strip(
    values: tuple[float, float, float], target: float, allowed: tuple[float, float]
) -> Drawing:
    """A measured number with its interval on the band of its tolerance. values: value, low, high, NaN without one."""
    width, height, middle = 220.0, 20.0, 10.0
    drawing = Drawing(width, height, "", 0, "small")
    known = [v for v in (*values, *allowed, target) if np.isfinite(v)]
    x = _scale(min(known), max(known), 8.0, width - 8)
    drawing.rect(x(allowed[0]), middle - 6, x(allowed[1]) - x(allowed[0]), 12, "tol")
    if np.isfinite(target):
        drawing.path([(x(target), 1), (x(target), height - 1)], "ref")
    if np.isfinite(values[1]) and np.isfinite(values[2]):
        drawing.path([(x(values[1]), middle), (x(values[2]), middle)], "ln")
    if np.isfinite(values[0]):
        drawing.mark(x(values[0]), middle, 4.0)
    return drawing


def shape(
    curves: tuple[Array, Array, Array], density: tuple[Array, Array] | None, look: int, name: str, wide: bool
) -> Drawing:
    """phi, its slope, and in grey where z lies: what the layers really use of them.

    curves: z, phi(z), phi'(z); density: places and density of z, or None where nothing is known of it
    """
    width, height = (540.0, 290.0) if wide else (330.0, 230.0)
    left, right, top, bottom = 36.0, 12.0, 14.0, 34.0
    z, phi, slope = curves
    label = f"{name} and its slope for z from {z[0]:.0f} to {z[-1]:.0f}; the slope is at most {np.nanmax(slope):.3g}"
    drawing = Drawing(width, height, label, look, "w" if wide else "n")
    low = float(max(min(np.nanmin(phi), np.nanmin(slope), 0.0), -1.6))
    high = float(min(max(np.nanmax(phi), np.nanmax(slope), 1.0), 2.0)) + 0.12
    x, y = (
        _scale(float(z[0]), float(z[-1]), left, width - right),
        _scale(low - 0.05, high, height - bottom, top),
    )
    if density is not None:
        at, heights = density
        inside = (at >= z[0]) & (at <= z[-1])
        at, heights = at[inside], heights[inside]
        if at.size and heights.max() > 0:
            reach = 0.62 * (height - bottom - top)
            base = height - bottom
            points = [
                (x(float(a)), base - reach * float(h) / float(heights.max()))
                for a, h in zip(at, heights, strict=True)
            ]
            drawing.area([(points[0][0], base), *points, (points[-1][0], base)], "tol")
    for value in [v for v in (-1.0, 0.0, 0.25, 0.5, 1.0, 2.0) if low - 0.05 <= v <= high]:
        if value in (0.25, 0.5) and (high - low > 1.7 or not wide):
            continue
        drawing.path([(left, y(value)), (width - right, y(value))], "ref" if value == 1.0 else "g")
        drawing.text(left - 6, y(value) + 4, f"{value:g}", anchor="end")
    for value in range(int(np.ceil(z[0])), int(z[-1]) + 1, 2):
        drawing.text(x(float(value)), height - bottom + 17, f"{value}", anchor="middle")
    drawing.text((left + width) / 2, height - 2, "z (pre-activation)", anchor="middle")
    with np.errstate(invalid="ignore"):
        for values, kind in ((phi, "thin"), (slope, "ln")):
            shown = np.where((values >= low - 0.05) & (values <= high), values, np.nan)
            drawing.path([(x(float(a)), y(float(v))) for a, v in zip(z, shown, strict=True)], kind)
    _name_curves(drawing, x, y, z, phi, slope, (low, high))
    return drawing


def _name_curves(
    drawing: Drawing, x: Callable[[float], float], y: Callable[[float], float], z: Array, phi: Array, slope: Array,
    span: tuple[float, float],
) -> None:  # fmt: skip
    """Names beside the curves: phi at the right where it leaves or ends, its slope at its peak near the middle."""
    inside = np.flatnonzero((phi <= span[1]) & (phi >= span[0] - 0.05))
    if inside.size:
        last = int(inside[-1])
        at_edge = last == len(z) - 1
        drawing.text(x(float(z[last])) - 4, y(float(phi[last])) + (16 if at_edge else 8), "φ", "ct", "end")
    near = np.flatnonzero(np.abs(z) <= 2.2)
    peak = int(near[np.nanargmax(slope[near])]) if np.isfinite(slope[near]).any() else 0
    words, left = f"slope φ′, at most {np.nanmax(slope):.3g}", float(z[peak]) > 0.3
    # Beside the peak where the slope has fallen: at its right, or at its left where it is highest at the right.
    at = min(x(float(z[peak])) - 6, drawing.width - 20) if left else max(x(float(z[peak])), x(0.0)) + 12
    above = min(float(slope[peak]), span[1])
    drawing.text(at, y(above) + (16 if left else -6), words, "ct", "end" if left else "start")


def budget(parts: Budget, look: int, wide: bool) -> Drawing:
    """Where the decades go, one bar a cause, each from where the last one ended."""
    called = {
        "slopes": f"slopes φ′, {parts.steps} layers",
        "weights": f"weights, {parts.steps} matrices",
        "norms": "norms",
        "rest": "skip connections" if parts.skips else "the rest",
    }
    rows = [(name, parts.parts[part]) for part, name in called.items() if part in parts.parts]
    width, each = (540.0 if wide else 330.0), 42.0
    height = each * len(rows) + 44
    label = "Decades from the top layer down to layer 1: " + ", ".join(
        f"{name} {value:.2f}" for name, value in rows
    )
    drawing = Drawing(width, height, f"{label}, in all {parts.total:.2f}", look, "w" if wide else "n")
    ends = np.cumsum([0.0, *(value for _, value in rows)])
    low, high = min(float(ends.min()), -0.5), max(float(ends.max()), 0.5 if parts.total > 0 else 0.0)
    x = _scale(low, high, 10.0, width - 14)
    for nth, (name, value) in enumerate(rows):
        y = nth * each + 20
        start, end = x(float(ends[nth])), x(float(ends[nth + 1]))
        drawing.rect(min(start, end), y, max(abs(end - start), 2.0), 15, "fill" if nth == 0 else "ink")
        drawing.text(10, y - 5, name, "i")
        drawing.text(width - 14, y - 5, f"{value:+.2f}".replace("-", "−"), "b", "end")
        drawing.path([(end, y + 15), (end, y + each)], "g")
    y = len(rows) * each + 22
    drawing.text(10, y, "layer 1 against the top layer" if wide else "together", "b")
    drawing.text(width - 14, y, f"{parts.total:+.2f} decades".replace("-", "−"), "b", "end")
    return drawing


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    reach = (high - low) or 1.0
    return lambda value: start + (end - start) * (value - low) / reach


def _layer_ticks(layers: Array) -> list[float]:
    last = float(layers[-1])
    stride = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10000) if last / s <= 8)
    inner = [
        float(v)
        for v in layers
        if v % stride == 0 and v - layers[0] >= 0.6 * stride and last - v >= 0.6 * stride
    ]
    return sorted({float(layers[0]), *inner, last})
