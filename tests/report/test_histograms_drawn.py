"""Ridges hold the counts of histograms.csv: pooled over seeds, drawn in the figure, embedded in the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from test_page import data_of

from gradlab.cli.main import main
from gradlab.report import figures, page_data, selections
from gradlab.report.build import build
from gradlab.report.distributions import COUNTS, FULL, OVERLAP, by_layer, pooled
from gradlab.sensors.extra.histograms import BINS
from gradlab.store.results import Results, read_folder

FLAGS = (
    "run --activation relu --depth 4 --width 8 --data moons --seeds 2 --steps 8 --record every:2 --histograms"
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("ridges") / "run"
    assert main([*FLAGS.split(), "--quiet", "--out", str(out)]) == 0
    return read_folder(out)


def rows_of(result: Results, quantity: str, step: int, layer: int) -> pd.DataFrame:
    table = result.histograms
    assert table is not None
    return table[(table["quantity"] == quantity) & (table["step"] == step) & (table["layer"] == layer)]


def test_one_seed_pooled_is_itself(result: Results) -> None:
    rows = rows_of(result, "delta", 2, 3).iloc[:1]
    one = pooled(rows)
    np.testing.assert_allclose(one.shares * rows["entries"].iloc[0], rows[COUNTS].iloc[0], atol=1e-9)
    assert (one.low, one.high) == (rows["bin_low"].iloc[0], rows["bin_high"].iloc[0])
    assert one.zeros == rows["zeros"].iloc[0] / rows["entries"].iloc[0]


def row(
    low: float, high: float, counts: dict[int, int], zeros: int = 0, nonfinite: int = 0
) -> dict[str, object]:
    bins = {name: counts.get(k, 0) for k, name in enumerate(COUNTS)}
    return {
        "entries": sum(counts.values()) + zeros + nonfinite,
        "zeros": zeros,
        "nonfinite": nonfinite,
        "bin_low": low,
        "bin_high": high,
        **bins,
    }


def test_seeds_of_different_reach_are_pooled_without_losing_an_entry() -> None:
    """One seed from 0 to 40, another from 20 to 60: common bins are 1.5 wide."""
    one = pooled(pd.DataFrame([row(0, 40, {0: 30}, zeros=10), row(20, 60, {39: 60})]))
    assert (one.low, one.high, one.zeros) == (0, 60, 0.1)
    assert one.shares.sum() == pytest.approx(0.9)
    assert one.shares[0] == pytest.approx(0.3) and one.shares[-1] == pytest.approx(0.6)
    equal = pooled(pd.DataFrame([row(2, 2, {0: 5}), row(0, 4, {39: 5})]))
    assert equal.shares.sum() == pytest.approx(1) and equal.shares[20] == pytest.approx(0.5)
    nothing = pooled(pd.DataFrame([row(np.nan, np.nan, {}, zeros=3, nonfinite=1)]))
    assert (nothing.zeros, nothing.nonfinite, nothing.shares.size) == (0.75, 0.25, 0)


def test_the_figure_draws_the_counts_of_the_table(result: Results) -> None:
    figure = figures.plot(result, "histograms")
    assert figure.axes[0].get_title("left") == "pre-activation z"
    panel = figure.axes[2]  # delta at step 0; the first layer is drawn last, in front
    ridges = [c for c in panel.collections if isinstance(c, PolyCollection)]
    assert len(ridges) == 5
    for place, layer in ((4, 1), (0, 5)):
        one = pooled(rows_of(result, "delta", 0, layer))
        points = ridges[place].get_paths()[0].vertices
        assert isinstance(points, np.ndarray)
        base = layer - 1
        np.testing.assert_allclose(points[:, 1].max() - base, OVERLAP)
        np.testing.assert_allclose([points[:, 0].min(), points[:, 0].max()], [one.low, one.high])
        upper = {round(float(y), 9) for y in points[:, 1]}
        assert {round(base + OVERLAP * s, 9) for s in one.shares / one.shares.max()} <= upper
    bars = [line for line in panel.get_lines() if str(line.get_label()).startswith("exactly 0")]
    zeros = [by_layer(result.histograms, "delta", 0)[layer].zeros for layer in (4, 3, 2, 1)]  # type: ignore[arg-type]
    heights = [np.ptp(np.asarray(line.get_ydata())) / FULL for line in bars]
    np.testing.assert_allclose(heights, [z for z in zeros if z], rtol=1e-12)
    assert heights, "ReLU has zeros"


def test_the_page_has_the_distributions_at_every_record(result: Results) -> None:
    page = build([result.out], ("html",)).files[0].read_text(encoding="utf-8")
    (cell,) = data_of(page)["ridges"].values()
    assert cell["steps"] == [0, 2, 4, 6, 8] and cell["layers"] == [1, 2, 3, 4, 5]
    assert cell["h"][0][4] is None, "the readout has no h"
    low, high, zeros, nonfinite, heights = cell["h"][1][2]
    one = pooled(rows_of(result, "h", 2, 3))
    assert (low, high) == (pytest.approx(one.low, rel=1e-4), pytest.approx(one.high, rel=1e-4))
    assert (zeros, nonfinite) == (round(1000 * one.zeros), 0)
    np.testing.assert_array_equal(heights, np.round(100 * one.shares / one.shares.max()))
    assert len(heights) == BINS and 'id="plot-ridges"' in page


def test_many_cells_get_fewer_ridges_and_then_none_and_the_page_says_so(
    result: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = selections.Tables(**selections.tables_of(result))
    cell = [str(result.summary["cell"].iloc[0])]
    monkeypatch.setattr(page_data, "HISTOGRAM_BUDGET", 3 * 14 * 3 * (BINS + 4))
    assert page_data.histogram_data(data, cell)[cell[0]]["steps"] == [0, 4, 8]
    monkeypatch.setattr(page_data, "HISTOGRAM_BUDGET", 0)
    assert page_data.histogram_data(data, cell) == {}
    page = build([result.out], ("html",)).files[0].read_text(encoding="utf-8")
    assert "they are in histograms.csv alone" in page and 'id="plot-ridges"' not in page


def test_a_report_draws_them_and_a_result_without_has_none(
    result: Results, tmp_path: Path, draw_only: Callable[..., None]
) -> None:
    draw_only("learning", "histograms")
    drawn = build([result.out], ("png",), tmp_path / "with").files
    assert tmp_path / "with" / "figures" / "histograms.png" in drawn
    plain = tmp_path / "plain"
    flags = re.sub(" --histograms", "", FLAGS).split()
    assert main([*flags, "--quiet", "--out", str(plain)]) == 0
    files = build([plain], ("png", "html")).files
    assert not any("histograms" in file.name for file in files)
    both = build([plain, result.out], ("html",), tmp_path / "both").files[0].read_text(encoding="utf-8")
    assert len(data_of(both)["ridges"]) == 1 and len(data_of(both)["cells"]) == 2
