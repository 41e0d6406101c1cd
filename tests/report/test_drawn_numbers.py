"""What a figure or a table says under each label is the column of that label: two columns exchanged are seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_results import STEPS, Made, make

from gradlab.report import figures, html, tables
from gradlab.report.glyphs import Glyphs
from gradlab.report.layer_table import layer_table
from gradlab.report.selections import Tables

SHARES = {"share of dead units": "dead_fraction", "share of saturated outputs": "saturated_fraction"}
ACCURACIES = {"training batch": "train_accuracy", "validation": "val_accuracy"}


def numbers(count: int, first: float, last: float) -> np.ndarray:
    """Distinct numbers in no order that a picture could be drawn in by mistake."""
    return np.random.default_rng(count).permutation(np.linspace(first, last, count))


@pytest.fixture
def run() -> Made:
    """One cell in which every number of the columns under test is another."""
    made = make(seeds=1)
    hidden = made.layers["name"] != "output"
    for place, column in enumerate(SHARES.values()):
        made.layers.loc[hidden, column] = numbers(int(hidden.sum()), 0.01 + 0.4 * place, 0.4 + 0.4 * place)
    for place, column in enumerate(ACCURACIES.values()):
        made.steps[column] = numbers(len(made.steps), 0.1 + 0.4 * place, 0.4 + 0.4 * place)
    return made


@pytest.fixture
def grid() -> Made:
    made = make(("relu", "sigmoid", "tanh"), (5,))
    for place, column in enumerate(
        made.summary.select_dtypes("number").columns.drop(["depth", "width", "lr", "seeds"])
    ):
        made.summary[column] = numbers(3 + place, 0.02 + 0.03 * place, 0.04 + 0.03 * place)[:3]
    made.summary["val_accuracy_mean"] = [0.5, 0.7, 0.6]  # no interval ends where no accuracy can be
    return made


def test_shares_are_drawn_under_their_titles_with_layer_1_at_the_bottom_and_the_first_record_at_the_left(
    run: Made,
) -> None:
    *panels, bar = figures.plot(run, "units").axes
    assert [ax.get_title("left") for ax in panels] == list(SHARES)
    for ax in panels:
        mesh = ax.collections[0]
        corners = mesh.get_coordinates()  # type: ignore[attr-defined]
        middles = (corners[:-1, :-1] + corners[1:, 1:]) / 2
        values = np.asarray(mesh.get_array()).reshape(middles.shape[:2])
        table = run.layers.pivot(index="layer", columns="step", values=SHARES[ax.get_title("left")])
        for (_, place), layer in np.ndenumerate(middles[..., 1]):
            assert middles[0, place, 0] == place and layer == int(layer)
        np.testing.assert_array_equal(values, table.loc[middles[:, 0, 1].astype(int), list(STEPS)])
        assert ax.get_ylim()[0] < ax.get_ylim()[1] and ax.get_xlim()[0] < ax.get_xlim()[1]
        assert mesh.norm.vmin == 0 and mesh.norm.vmax == 1, "the colours of 0 and of 1"
    low, high = bar.get_ylim()
    assert (low, high) == (0, 1)


def test_accuracies_are_drawn_under_their_names(run: Made) -> None:
    ax = figures.plot(run, "learning").axes[1]
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.get_lines()}
    assert ax.get_legend() is not None
    for name, column in ACCURACIES.items():
        np.testing.assert_array_equal(drawn[name], run.steps[column])


def test_prediction_is_measured_over_predicted(run: Made) -> None:
    first = run.layers[run.layers["step"] == 0].assign(delta_rms_predicted=numbers(21, 0.1, 0.9))
    ax = figures.plot(replace(run, layers=first), "prediction").axes[0]
    (line,) = (line for line in ax.get_lines() if str(line.get_label()).startswith("measured / predicted"))
    np.testing.assert_allclose(
        line.get_ydata(), first["delta_rms"] / first["delta_rms_predicted"], rtol=1e-12
    )


def test_decay_has_the_prediction_across_and_the_measurement_up(grid: Made) -> None:
    ax = figures.plot(grid, "decay").axes[0]
    assert ax.get_xlabel().startswith("predicted") and ax.get_ylabel() == "measured"
    for bars in ax.containers:
        (row,) = grid.summary[grid.summary["activation"] == bars.get_label()].to_dict("records")
        point, _, (whisker,) = bars  # type: ignore[misc]
        assert (*point.get_xdata(), *point.get_ydata()) == (
            row["decay_per_layer_predicted"],
            row["decay_per_layer_mean"],
        )
        low, high = whisker.get_segments()[0][:, 1]
        assert (high - low) / 2 == pytest.approx(row["decay_per_layer_ci95"])
    assert len(ax.containers) == 3


def test_ranking_puts_each_cells_numbers_beside_its_name(grid: Made) -> None:
    left, right = figures.plot(grid, "ranking").axes
    names = {
        int(place): text.get_text()
        for place, text in zip(left.get_yticks(), left.get_yticklabels(), strict=True)
    }
    best = grid.summary.sort_values("val_accuracy_mean")["activation"].tolist()
    assert [names[place].split(",")[0] for place in sorted(names)] == best, "the best on top"
    for ax, column in ((left, "val_accuracy"), (right, "attenuation")):
        found = {}
        for points, _, (whiskers,) in ax.containers:
            for x, place, segment in zip(*points.get_data(), whiskers.get_segments(), strict=True):
                found[names[int(place)].split(",")[0]] = (x, np.ptp(segment[:, 0]) / 2)
        for _, row in grid.summary.iterrows():
            expected = (row[f"{column}_mean"], row[f"{column}_ci95"])
            assert found[row["activation"]] == pytest.approx(expected)
        assert len(found) == 3


def test_each_column_of_the_paper_table_is_the_summarys(grid: Made) -> None:
    heads, fields = tables.rows(grid.summary)
    found = pd.DataFrame(fields, columns=heads).set_index("activation")
    summary = grid.summary.set_index("activation").loc[found.index]
    for head, column, scale, decimals in (
        ("accuracy", "val_accuracy_mean", 1, 3),
        ("attenuation", "attenuation_mean", 1, 2),
        ("decay", "decay_per_layer_mean", 1, 3),
        ("theory", "decay_per_layer_predicted", 1, 3),
        ("dead %", "dead_fraction_max", 100, 0),
        ("saturated %", "saturated_fraction_max", 100, 0),
    ):
        shown = [text.split(" ")[0] for text in found[head]]
        assert shown == [f"{scale * value:.{decimals}f}" for value in summary[column]], head
    for head, column in (("accuracy", "val_accuracy_ci95"), ("attenuation", "attenuation_ci95")):
        halves = [float(text.split("± ")[1]) for text in found[head]]
        assert halves == pytest.approx(list(summary[column]), abs=0.005), head


def test_each_column_of_the_page_is_the_summarys(grid: Made) -> None:
    table = html.ranking_table(Tables(layers=grid.layers, steps=grid.steps, summary=grid.summary))
    heads = [head for head, _ in table["heads"]]
    summary = grid.summary.set_index("cell")
    for row in table["rows"]:
        fields = dict(zip(heads, row["fields"], strict=True))
        for head, column in (
            ("accuracy", "val_accuracy_mean"),
            ("training loss", "train_loss_mean"),
            ("attenuation", "attenuation_mean"),
            ("decay", "decay_per_layer_mean"),
            ("predicted", "decay_per_layer_predicted"),
            ("dead %", "dead_fraction_max"),
            ("saturated %", "saturated_fraction_max"),
        ):
            assert float(fields[head].value) == summary.loc[row["cell"], column], head
    assert len(table["rows"]) == 3


def test_the_terminal_divides_measured_by_predicted_layer_by_layer(run: Made) -> None:
    layers = run.layers.copy()
    first = layers["step"] == 0
    layers.loc[first, "delta_rms_predicted"] = layers.loc[first, "delta_rms"] / numbers(21, 0.2, 3.0)
    table, _ = layer_table(layers, list(STEPS), 160, Glyphs(True, "utf-8"))
    columns = {str(column.header): [str(cell) for cell in column.cells] for column in table.columns}
    rows = layers[first].set_index("layer")
    ratio = rows["delta_rms"] / rows["delta_rms_predicted"]
    shown = dict(zip(columns["\nlayer"], columns["meas.\n/pred."], strict=True))
    assert list(shown) == ["output", *(str(layer) for layer in range(20, 0, -1))], "the readout on top"
    for name, text in shown.items():
        assert float(text.rstrip("!")) == pytest.approx(
            ratio[21 if name == "output" else int(name)], rel=0.01
        )
