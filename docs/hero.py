"""The picture at the top of the README, drawn again: `python docs/hero.py` trains two nets and writes docs/hero.png."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import gradlab
from gradlab.analyse.headline import times
from gradlab.report import axes, selections
from gradlab.report.figures import save

DEPTH = 20
NETS = {"sigmoid": "sigmoid: the gradient dies", "relu": "ReLU: the gradient lives"}


def draw(result: Any) -> Any:
    """delta_rms over the layers at birth for each net, in the order in which the gradient meets them."""
    figure = axes.new_figure(3.2, 7.0)
    panel = figure.subplots()
    for nth, (name, label) in enumerate(NETS.items()):
        layers = result.layers[result.layers["activation"] == name]
        delta = selections.profile(layers, 0, "delta_rms")
        colour = axes.style((1, 0)[nth])["color"]
        panel.plot(delta.at[:-1], delta.median[:-1], color=colour, marker="o", markersize=4, linewidth=1.8)
        panel.fill_between(
            delta.at[:-1], delta.low[:-1], delta.high[:-1], color=colour, alpha=0.2, linewidth=0
        )
        lost = float(np.log10(delta.median[0] / delta.median[-2]))
        got = f"layer 1 gets {times(lost)} times {'less' if lost < 0 else 'more'} than layer {DEPTH}"
        place = (10, 1e-2) if nth else (14.7, 1e-10)
        panel.text(*place, f"{label}\n{got}", color=colour, ha="center", va="top", fontsize=10)
    axes.dress(panel, x="layer: the gradient enters at 20 and has to reach 1", y="delta (rms)")
    panel.set_yscale("log")
    panel.invert_xaxis()
    panel.set_xticks([1, 5, 10, 15, 20])
    return figure


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as out:
        trained = gradlab.compare(activation=list(NETS), depth=DEPTH, steps=1, out=f"{out}/hero")
        print(*save(draw(trained), Path(__file__).with_name("hero"), ["png"]))
