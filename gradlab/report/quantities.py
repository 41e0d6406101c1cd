"""The quantities that pictures show, by their columns of layers.csv and steps.csv, and what people call them."""

from __future__ import annotations

from typing import NamedTuple


class Gradient(NamedTuple):
    """A quantity over layers that is drawn in decades: its name in plain text, and as the title of a figure."""

    name: str
    title: str


GRADIENTS = {
    "delta_rms": Gradient("delta (rms)", r"back-propagated error $\delta$ (rms)"),
    "weight_grad_norm": Gradient("weight gradient", r"weight gradient $\|\partial L/\partial W\|_2$"),
}
SHARES = {"dead_fraction": "dead units", "saturated_fraction": "saturated outputs"}
LEAST_SHARE = 0.005
"""A picture of shares that stay below this in every layer and record is left out: nothing happens in it."""
LOSSES = {"train_loss": "training batch", "val_loss": "validation"}
SCORES = {"train_accuracy": "training batch", "val_accuracy": "validation", "val_r2": "validation"}
"""accuracies of classes, and R^2 of numbers; a cell has the ones or the other"""
