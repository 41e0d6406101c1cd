"""Figures hold the numbers of the tables: what is drawn is read back from the axes."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from synthetic_results import STEPS, delta, make

from gradlab import sensors
from gradlab.base.errors import ConfigError
from gradlab.report import drawing, figures, selections
from gradlab.report.axes import Decades, style
from gradlab.report.selections import fold

RUN = make()
GRID = make(("linear", "relu", "tanh"), (5, 20))


def lines(ax) -> dict[str, tuple[np.ndarray, np.ndarray]]:  # type: ignore[no-untyped-def]
    return {line.get_label(): tuple(map(np.asarray, line.get_data())) for line in ax.get_lines()}  # type: ignore[misc]


def test_gradient_lines_are_the_medians_of_the_table_and_the_theory() -> None:
    left, right = figures.plot(RUN, "gradients").axes
    drawn = lines(left)
    middle = min(STEPS, key=lambda step: abs(step - 500))
    for step in (0, middle, 1000):
        layer, logs = drawn[f"step {step}"]
        expected = [
            np.median([delta("sigmoid", 20, at, seed, step) for seed in range(3)]) for at in range(1, 22)
        ]
        np.testing.assert_array_equal(layer, np.arange(1, 22))
        np.testing.assert_allclose(logs, np.log10(expected), rtol=1e-12)
    theory = [1.05 * delta("sigmoid", 20, at, 0, 0) for at in range(1, 22)]
    np.testing.assert_allclose(drawn["theory, step 0"][1], np.log10(theory), rtol=1e-12)
    np.testing.assert_allclose(lines(right)["step 0"][1] - drawn["step 0"][1], np.log10(3), rtol=1e-9)
    names = [text.get_text() for text in left.get_xticklabels()]
    assert names[0] == "1" and names[-1] == "out"


def test_bands_reach_from_the_lowest_to_the_highest_seed() -> None:
    ax = figures.plot(RUN, "gradients").axes[0]
    vertices = ax.collections[0].get_paths()[0].vertices
    at_layer_3 = vertices[vertices[:, 0] == 3.0, 1]
    low, high = (np.log10(delta("sigmoid", 20, 3, seed, 0)) for seed in (0, 2))
    assert (at_layer_3.min(), at_layer_3.max()) == pytest.approx((low, high))


def test_zeros_and_infinities_have_a_named_strip_of_their_own_and_no_line_through_it() -> None:
    layers = RUN.layers.copy()
    layers.loc[layers["layer"] == 1, "delta_rms"] = 0.0
    layers.loc[(layers["layer"] == 2) & (layers["step"] == 1000), ["delta_rms", "nonfinite"]] = [np.nan, 5]
    ax = figures.plot(replace(RUN, layers=layers), "gradients").axes[0]
    names = {text.get_text(): y for text, y in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True)}
    marks = [line for line in ax.get_lines() if line.get_linestyle() == "None"]
    assert all(line.get_ydata()[0] == names["0"] for line in marks)  # type: ignore[index]
    assert marks[2].get_ydata()[1] == names["inf, nan"]  # type: ignore[index]
    assert np.isnan(lines(ax)["step 1000"][1][:2]).all() and np.isfinite(lines(ax)["step 1000"][1][2:]).all()


def test_a_loss_that_blew_up_is_drawn_in_decades_with_its_infinities() -> None:
    steps = RUN.steps.copy()
    steps.loc[steps["step"] == 100, "train_loss"] = 1e9
    steps.loc[steps["step"] == 1000, "train_loss"] = np.nan
    ax = figures.plot(replace(RUN, steps=steps), "learning").axes[0]
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert "inf, nan" in names and "$10^{4}$" in names
    np.testing.assert_allclose(lines(ax)["training batch"][1][-2:], [9.0, np.nan])
    plain = figures.plot(RUN, "learning").axes[0]
    np.testing.assert_allclose(lines(plain)["training batch"][1][0], 2.31)


def test_decades_keep_denormal_and_huge_values_apart_and_ticks_are_few() -> None:
    scale = Decades.of(np.array([5e-324, 1.0, 1e308]))
    np.testing.assert_allclose(scale.place(np.array([1e-300, 1.0])), [-300, 0])
    assert 4 <= len(scale.ticks()[0]) <= 10
    assert Decades.of(np.array([np.nan, 0.0])).zero


def test_the_map_is_log10_delta_and_hatches_zeros() -> None:
    layers = RUN.layers.copy()
    layers.loc[layers["layer"] == 1, "delta_rms"] = 0.0
    ax = figures.plot(replace(RUN, layers=layers), "heatmap").axes[0]
    values = ax.collections[0].get_array().reshape(21, len(STEPS))  # type: ignore[union-attr]
    assert values[6, 3] == pytest.approx(np.log10(delta("sigmoid", 20, 7, 1, STEPS[3])))
    assert values.mask[0].all() and not values.mask[1:].any()
    assert (
        sum(patch.get_hatch() == "////" for patch in ax.patches) == len(STEPS) + 1
    )  # and one for the legend


def test_depth_lines_are_the_summary_with_its_intervals() -> None:
    left, right = figures.plot(GRID, "by_depth").axes
    for ax, column in ((left, "val_accuracy"), (right, "attenuation")):
        for bars in ax.containers:
            group = GRID.summary[GRID.summary["activation"] == bars.get_label()].sort_values("depth")
            x, y = bars.lines[0].get_data()
            np.testing.assert_array_equal(x, group["depth"])
            np.testing.assert_allclose(y, group[f"{column}_mean"])
            ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
            np.testing.assert_allclose((ends[:, 1] - ends[:, 0]) / 2, group[f"{column}_ci95"])
        assert len(ax.containers) == 3


def test_profiles_have_one_panel_a_depth_and_one_line_a_cell() -> None:
    figure = figures.plot(GRID, "profiles")
    assert [ax.get_title("left") for ax in figure.axes] == ["depth 5", "depth 20"]
    for ax in figure.axes:
        assert {"linear", "relu", "tanh"} <= set(lines(ax))
    np.testing.assert_allclose(
        lines(figure.axes[0])["tanh"][1],
        np.log10([np.median([delta("tanh", 5, at, seed, 0) for seed in range(3)]) for at in range(1, 7)]),
    )


def test_activation_shapes_are_the_functions() -> None:
    left, right = figures.plot(RUN, "activations").axes
    z, phi = lines(left)["sigmoid"]
    np.testing.assert_allclose(phi, 1 / (1 + np.exp(-z)), rtol=1e-12)
    slopes = [line for line in right.get_lines() if len(line.get_xdata()) > 10]  # type: ignore[arg-type]
    np.testing.assert_allclose(slopes[0].get_ydata(), phi * (1 - phi), rtol=1e-9)


def test_phase_diagram_places_the_net_and_the_critical_line() -> None:
    net = make(("tanh",), (5,), init="gaussian:sigma_w=1.5:sigma_b=0.3")
    ax = figures.plot(net, "phase").axes[0]
    drawn = lines(ax)
    assert tuple(value[0] for value in drawn["cells of this result"]) == pytest.approx((1.5, 0.3))
    sigma_w, sigma_b = drawn[r"critical line ($\chi_1 = 1$)"]
    assert sigma_w[0] == pytest.approx(1.0, abs=1e-6) and sigma_b[0] == 0  # tanh: critical at (1, 0)
    assert (np.diff(sigma_w) > 0).all()


@pytest.mark.slow
def test_every_figure_of_the_registry_is_drawn_and_saved_in_every_format(tmp_path: Path) -> None:
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF-"}
    drawn = [name for name in figures.FIGURES if name not in sensors.beside()]  # tables that GRID has not
    for nth, name in enumerate(drawn):
        kinds = drawing.PICTURES if nth == 0 else ["pdf"]
        for path in drawing.save(figures.plot(GRID, name), tmp_path / name, kinds):
            assert path.read_bytes().startswith(starts[path.suffix[1:]])


def test_the_same_numbers_write_the_same_picture(tmp_path: Path) -> None:
    first = drawing.save(figures.plot(RUN, "learning"), tmp_path / "a", drawing.PICTURES)
    again = drawing.save(figures.plot(RUN, "learning"), tmp_path / "b", drawing.PICTURES)
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in again]


@pytest.mark.slow
@pytest.mark.parametrize("made", [make(("relu",), (1,), steps=(0,), seeds=1), make(("softmax",), (3,))])
def test_extreme_nets_have_figures(made, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    if made.summary["activation"].iloc[0] == "softmax":
        made.layers[["dead_fraction", "saturated_fraction", "delta_rms_predicted"]] = np.nan
        assert all(figures.FIGURES[name].draw(made) is None for name in ("units", "prediction"))
    assert len([*chain(*(each.save() for each in figures.every_drawing(made, tmp_path, ["svg"])))]) >= 4


def test_many_cells_give_few_files(tmp_path: Path) -> None:
    many = make(("relu", "tanh", "linear", "sigmoid"), tuple(range(2, 12)), seeds=1, steps=(0,))
    drawn = [each.stem.name for each in figures.every_drawing(many, tmp_path, ["png"])]
    assert sum(name.endswith("overview") for name in drawn) == figures.MOST_CELLS
    assert len(drawn) == figures.MOST_CELLS + len(figures.of_kind("grid", "both"))


def test_unknown_figures_and_cells_are_the_users_mistake() -> None:
    with pytest.raises(ConfigError, match="did you mean 'heatmap'"):
        figures.plot(RUN, "heatmaps")
    with pytest.raises(ConfigError, match="unknown cell"):
        figures.plot(RUN, cell="feed")


def test_where_no_figure_is_named_the_first_leading_one_that_has_something_to_draw_is_shown() -> None:
    assert figures.plot(RUN).axes[1].get_title("left") == r"$\log_{10}\,\delta$ (rms)", "the overview"
    assert len(figures.plot(GRID, cell=GRID.summary["cell"].iloc[0]).axes) == len(figures.plot(RUN).axes)
    assert figures.plot(GRID).axes[0].get_title("left") == "validation accuracy, last record"
    one_depth = make(("relu", "tanh"), (5,))
    assert [ax.get_title("left") for ax in figures.plot(one_depth).axes] == ["depth 5"], "profiles"


def test_no_two_of_a_figures_lines_look_alike() -> None:
    looks = [(look["color"], look["marker"]) for look in map(style, range(12))]
    assert len(set(looks)) == 12


def test_labels_name_what_differs() -> None:
    both = make(("relu",), (5,), init="he")
    assert list(selections.labels(GRID.summary).values())[:2] == ["linear, depth 5", "linear, depth 20"]
    assert list(selections.labels(both.summary).values()) == ["relu, depth 5"]


def test_names_are_folded_between_words_then_parameters() -> None:
    assert fold("tanh, depth 5", 40) == "tanh, depth 5"
    assert fold("leaky_relu:negative_slope=0.2, depth 5, init auto", 30).split("\n") == [
        "leaky_relu:negative_slope=0.2,",
        "depth 5, init auto",
    ]
    assert fold("gaussian:sigma_w=1.5:sigma_b=0.05", 24).split("\n") == [
        "gaussian:sigma_w=1.5:",
        "sigma_b=0.05",
    ]
    assert max(map(len, fold("x" * 100 + " y" * 30, 24).split("\n"))) <= 24


@pytest.mark.parametrize("name", ["by_depth", "profiles", "ranking", "phase", "activations"])
def test_no_text_leaves_the_picture_however_long_the_names(name: str) -> None:
    """Legends, titles and tick labels of cells with long names lie inside the figure."""
    long = make(
        ("leaky_relu:negative_slope=0.2", "tanh", "relu"), (5, 20), init="gaussian:sigma_w=1.5:sigma_b=0.05"
    )
    long.summary["init"] = ["gaussian:sigma_w=1.5:sigma_b=0.05", "auto"] * 3
    figure = figures.plot(long, name)
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 > -0.02 and box.x1 < width + 0.02 and box.y0 > -0.02 and box.y1 < height + 0.02


def test_one_cell_is_drawn_in_one_process_and_sixteen_in_several(tmp_path: Path) -> None:
    sixteen = make(("relu", "tanh"), tuple(range(2, 10)), seeds=2, steps=(0, 1))
    few, many = (len(figures.every_drawing(each, tmp_path, ["svg"])) for each in (RUN, sixteen))
    assert few <= drawing.MOST_ALONE < many


def test_other_processes_draw_the_same_files_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process was killed over is drawn again."""
    few = [each for each in figures.every_drawing(RUN, tmp_path / "a", ["svg"]) if each.figure != "overview"][
        :3
    ]
    others = [replace(each, stem=tmp_path / "b" / each.stem.name) for each in few]
    monkeypatch.setattr(drawing, "MOST_ALONE", 1)
    monkeypatch.setattr(drawing, "ProcessPoolExecutor", lambda workers, context: KilledOnce())
    said: list[str] = []
    with drawing.begun(few, 1, said.append) as serial:
        expected = serial()
    with drawing.begun(others, 2, said.append) as parallel:
        found = parallel()
    assert [path.name for path in found] == [path.name for path in expected] and len(found) >= 2
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in expected]
    assert said == 2 * [f"figures/{each.stem.name}" for each in few]


class KilledOnce:
    """A pool that works at once, and whose first piece of work is lost with its process."""

    def __init__(self) -> None:
        self.asked = 0

    def submit(self, function: Callable[[], list[Path]]) -> Future[list[Path]]:
        future: Future[list[Path]] = Future()
        self.asked += 1
        if self.asked == 1:
            future.set_exception(BrokenProcessPool())
        else:
            future.set_result(function())
        return future

    def shutdown(self, cancel_futures: bool) -> None:
        assert cancel_futures, "after Ctrl-C nothing more is drawn"
