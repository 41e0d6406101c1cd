"""The sharpness figure holds the numbers of sharpness.csv, and the edge where plain gradient descent has one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gradlab.report import figures
from gradlab.report.figures.sharpness import edge_of

STEPS = [0, 5, 10]


def tables(sharpness: list[float], optimizer: str = "sgd") -> SimpleNamespace:
    """One cell of two seeds; the second seed's sharpness is half as large again. The last record has no rate."""
    cell = {"cell": "a", "activation": "tanh", "depth": 2, "optimizer": optimizer, "dataset": "moons"}
    steps, sharp = [], []
    for seed, factor in ((0, 1.0), (1, 1.5)):
        for step, rate, value in zip(STEPS, (0.1, 0.05, np.nan), sharpness, strict=True):
            scores = {"train_loss": 1.0, "val_loss": 1.0, "train_accuracy": 0.5, "val_accuracy": 0.5}
            steps.append({**cell, "seed": seed, "step": step, "learning_rate": rate, **scores})
            sharp.append({**cell, "seed": seed, "step": step, "sharpness": factor * value})
    summary = pd.DataFrame([{**cell, "seeds": 2}])
    empty = pd.DataFrame({"cell": [], "seed": [], "step": [], "layer": []})
    frames = {"steps": pd.DataFrame(steps), "sharpness": pd.DataFrame(sharp)}
    return SimpleNamespace(layers=empty, summary=summary, **frames)


@pytest.mark.parametrize(("values", "decades"), [([2.0, 3.0, 4.0], False), ([2e-3, 1.0, 4e3], True)])
def test_median_and_edge_are_those_of_the_tables(values: list[float], decades: bool) -> None:
    left, right = figures.FIGURES["sharpness"].draw(tables(values)).axes
    lines = {str(line.get_label()): np.asarray(line.get_ydata(), dtype=float) for line in left.get_lines()}
    place = np.log10 if decades else np.asarray
    np.testing.assert_allclose(lines["sharpness"], place(1.25 * np.array(values)))
    np.testing.assert_allclose(lines["2 / learning rate"], place([20.0, 40.0]))
    assert right.get_title("left") == "loss"


def test_a_maximum_has_a_negative_sharpness_and_a_linear_axis() -> None:
    left, _ = figures.FIGURES["sharpness"].draw(tables([-1.0, 2.0, 4e3])).axes
    (line,) = (each for each in left.get_lines() if each.get_label() == "sharpness")
    np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), [-1.25, 2.5, 5e3])


def test_an_optimiser_with_a_memory_has_no_such_edge_and_without_the_table_there_is_no_figure() -> None:
    momentum = tables([2.0, 3.0, 4.0], "momentum")
    assert not len(edge_of(momentum.steps)[0])
    assert len(edge_of(tables([2.0, 3.0, 4.0]).steps)[0]) == 2
    momentum.sharpness = None
    assert figures.FIGURES["sharpness"].draw(momentum) is None
