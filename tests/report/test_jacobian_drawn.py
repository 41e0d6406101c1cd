"""The Jacobian's figure holds the numbers of jacobian.csv; a table that has to be asked for is cut and joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from test_page import saved

from gradlab import sensors
from gradlab.cli.main import main
from gradlab.report import figures, html, selections
from gradlab.report.build import build
from gradlab.store.results import Results, read_folder

FLAGS = "run --activation tanh --depth 4 --width 8 --data moons --seeds 3 --steps 8 --record every:2 --init gaussian"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("jacobian") / "run"
    assert main([*FLAGS.split(), "--jacobian", "--quiet", "--out", str(out)]) == 0
    return read_folder(out)


def with_jacobian(result: Results, frame: pd.DataFrame | None) -> SimpleNamespace:
    return SimpleNamespace(**(selections.tables_of(result) | {"jacobian": frame}))


def lines(ax: Axes) -> dict[str, np.ndarray]:
    """What a panel's named lines draw."""
    return {str(line.get_label()): np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()}


def medians(result: Results, step: int, column: str) -> np.ndarray:
    """Over the seeds, layer 0 first, straight from the file."""
    frame = pd.read_csv(result.out / "jacobian.csv")
    return (
        frame[frame["step"] == step]
        .pivot(index="layer", columns="seed", values=column)
        .median(axis=1)
        .to_numpy()
    )


def test_lines_and_band_are_the_medians_of_the_table(result: Results) -> None:
    *panels, net = figures.plot(result, "jacobian").axes
    assert [ax.get_title("left") for ax in (*panels, net)] == ["step 0", "step 4", "step 8", "whole net"]
    for ax, step in zip(panels, (0, 4, 8), strict=True):
        drawn = lines(ax)
        for name, column in (("median", "singular_p50"), ("largest and smallest", "singular_max")):
            np.testing.assert_allclose(drawn[name], np.log10(medians(result, step, column)[1:]), rtol=1e-12)
        squares = medians(result, step, "singular_sq_mean")[1:]
        np.testing.assert_allclose(drawn["root mean square"], np.log10(squares) / 2, atol=1e-2)
        band = ax.collections[0].get_paths()[0].vertices
        assert isinstance(band, np.ndarray)
        at_layer_3 = band[band[:, 0] == 3.0, 1]
        low, high = (np.log10(medians(result, step, f"singular_p{share}")[3]) for share in ("05", "95"))
        assert (at_layer_3.min(), at_layer_3.max()) == pytest.approx((low, high))


def test_the_theory_stands_at_step_0_alone(result: Results) -> None:
    *panels, net = figures.plot(result, "jacobian").axes
    predicted = np.log10(medians(result, 0, "singular_sq_mean_predicted")) / 2
    np.testing.assert_allclose(lines(panels[0])["root mean square in theory"], predicted[1:], rtol=1e-12)
    assert all("root mean square in theory" not in lines(ax) for ax in panels[1:])
    np.testing.assert_allclose(lines(net)["root mean square in theory"], [predicted[0], np.nan, np.nan])


def test_the_whole_net_is_marked_and_not_joined(result: Results) -> None:
    net = figures.plot(result, "jacobian").axes[-1]
    (median,) = (line for line in net.get_lines() if line.get_label() == "median")
    expected = [np.log10(medians(result, step, "singular_p50")[0]) for step in (0, 4, 8)]
    np.testing.assert_allclose(np.asarray(median.get_ydata(), dtype=float), expected)
    assert median.get_linestyle() == "None" and [text.get_text() for text in net.get_xticklabels()] == [
        "0",
        "4",
        "8",
    ]


def test_zeros_and_nets_that_are_not_finite_have_their_strips(result: Results) -> None:
    assert result.jacobian is not None
    frame = result.jacobian.copy()
    values = [name for name in frame if name.startswith("singular_")]
    frame.loc[frame["step"] == 8, values] = np.nan
    frame.loc[
        (frame["step"] == 0) & (frame["layer"] == 2), ["singular_min", "singular_p05", "singular_p50"]
    ] = 0.0
    first, _, last, _ = figures.plot(with_jacobian(result, frame), "jacobian").axes
    strips = dict(zip([text.get_text() for text in first.get_yticklabels()], first.get_yticks(), strict=True))
    marks = [
        np.asarray(line.get_ydata(), dtype=float)
        for line in first.get_lines()
        if line.get_linestyle() == "None"
    ]
    assert [strips["0"]] in [list(found) for found in marks]
    assert np.isnan(lines(first)["median"][1]) and np.isfinite(np.delete(lines(first)["median"], 1)).all()
    broken = [
        np.asarray(line.get_ydata(), dtype=float)
        for line in last.get_lines()
        if line.get_linestyle() == "None"
    ]
    assert [strips["inf, nan"]] * 4 in [list(found) for found in broken]


@pytest.mark.parametrize("layers", [[0, 1], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("steps", [[0], [0, 8]])
def test_a_single_layer_and_a_single_record_are_drawn(
    result: Results, layers: list[int], steps: list[int]
) -> None:
    assert result.jacobian is not None
    cut = result.jacobian[result.jacobian["layer"].isin(layers) & result.jacobian["step"].isin(steps)]
    figure = figures.plot(with_jacobian(result, cut), "jacobian")
    assert len(figure.axes) == len(steps) + 1
    bars = 0 if len(layers) > 2 else len(steps)
    assert sum(len(ax.containers) for ax in figure.axes[:-1]) == bars, (
        "a band of one layer would be invisible"
    )


def test_a_report_draws_it_and_a_result_without_has_none(
    result: Results, tmp_path: Path, draw_only: Callable[..., None]
) -> None:
    draw_only("learning", "jacobian")
    assert (
        tmp_path / "with" / "figures" / "jacobian.png"
        in build([result.out], ("png",), tmp_path / "with").files
    )
    for frame in (None, result.jacobian.iloc[:0] if result.jacobian is not None else None):
        assert figures.FIGURES["jacobian"].draw(with_jacobian(result, frame)) is None


def test_a_table_that_has_to_be_asked_for_is_cut_and_joined_by_its_name_alone(
    result: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = str(result.summary["cell"].iloc[0])
    extra = pd.DataFrame({"cell": [cell, "other"], "value": [1.0, 2.0]})
    spec = replace(sensors.optional()["jacobian"].table, name="extra")
    monkeypatch.setitem(sensors.optional(), "extra", type("Extra", (), {"table": spec}))
    held = SimpleNamespace(**selections.tables_of(result), out=Path("a"), extra=extra)
    cut = selections.of_cell(held, cell)
    assert list(cut.extra["value"]) == [1.0] and set(cut.jacobian["cell"]) == {cell}
    assert selections.optional_table(cut, "histograms") is None
    joined = html.combine([held, saved(result, Path("b"))])  # type: ignore[list-item, arg-type]
    assert list(joined.extra["cell"]) == [f"0-{cell}", "0-other"] and list(joined.extra["result"]) == [
        "a",
        "a",
    ]
    assert set(joined.layers["result"]) == {"a", "b"}
