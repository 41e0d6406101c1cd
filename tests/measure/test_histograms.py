"""Histograms of z, h and delta against NumPy's own on a forward and backward pass by hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference.backprop import Net, backprop, forward
from reference.stacks import batches_of, make_stack, replica_of

from gradlab import activations
from gradlab.config import plan, resolve, to_toml
from gradlab.lab.experiment import execute
from gradlab.sensors.extra.histograms import BINS, HISTOGRAMS, QUANTITIES, histogram
from gradlab.train.checkpoint import Checkpoint
from gradlab.train.loop import Training

Counts = dict[str, float | NDArray[np.int64]]


def expected_row(values: NDArray[np.float64], quantity: str, exact: bool = False) -> Counts:
    """What a row should hold: its bins by np.histogram, or by fractions (NumPy overflows on a range of 2e308)."""
    flat = values.ravel()
    kept = flat[np.isfinite(flat) & (flat != 0)]
    if quantity == "delta":
        kept = np.log10(np.abs(kept))
    ends = (kept.min(), kept.max()) if kept.size else (np.nan, np.nan)
    bins = np.zeros(BINS, dtype=np.int64)
    if kept.size:
        bins = by_fractions(kept.tolist()) if exact else np.histogram(kept, BINS, ends)[0]
    return {
        "entries": flat.size,
        "zeros": int((flat == 0).sum()),
        "nonfinite": int((~np.isfinite(flat)).sum()),
        "negative": int((np.isfinite(flat) & (flat < 0)).sum()),
        "bin_low": ends[0],
        "bin_high": ends[1],
        "bins": bins,
    }


def by_fractions(kept: list[float]) -> NDArray[np.int64]:
    """The rule of the bins, without rounding."""
    low, high = Fraction(min(kept)), Fraction(max(kept))
    places = [min(int(BINS * (Fraction(v) - low) / (high - low)), BINS - 1) for v in kept]
    return np.bincount(places, minlength=BINS)


def assert_holds(row: NDArray[np.float64], expected: Counts, rtol: float = 1e-11) -> None:
    for name, value in expected.items():
        if name == "bins":
            found = row[HISTOGRAMS.recorded.index("bin_01") :]
            np.testing.assert_array_equal(found, value)
        elif name in ("bin_low", "bin_high"):
            np.testing.assert_allclose(row[HISTOGRAMS.recorded.index(name)], value, rtol=rtol, atol=rtol)
        else:
            assert row[HISTOGRAMS.recorded.index(name)] == value, name


def net_at_start(**flags: object) -> tuple[Training, list[Net]]:
    training = Training(make_stack(sets=["recording.histograms=true"], **flags), small(**flags))
    return training, [replica_of(training.mlp, seed) for seed in range(2)]


def small(**flags: object):  # type: ignore[no-untyped-def]
    return make_stack(**flags).cell.dataset()


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "elu", "prelu"])
def test_every_count_is_numpys_on_a_pass_by_hand(activation: str) -> None:
    """Step 0 in float64, each seed by itself; log10 |delta| of sigmoid's first layer is ten decades below the top's."""
    flags = {"activation": activation, "depth": 12, "width": 9, "steps": 0}
    training, nets = net_at_start(**flags)
    stack, data = training.stack, small(**flags)
    result = training.run(None, None)
    assert result.blocks["histograms"].values.shape[:4] == (2, 1, 13, 3)
    phi = activations.get(activation)
    for replica, net in enumerate(nets):
        rows = batches_of(stack, data, replica)[0]
        step = backprop(net, phi, data.x_train[rows].astype(np.float64), data.y_train[rows], "cross_entropy")
        z, h = forward(net, phi, data.x_train[:16].astype(np.float64))
        for layer in range(13):
            found = result.blocks["histograms"].values[replica, 0, layer]
            assert_holds(found[QUANTITIES.index("z")], expected_row(z[layer], "z"))
            assert_holds(found[QUANTITIES.index("delta")], expected_row(step.delta[layer], "delta"))
            if layer < 12:
                assert_holds(found[QUANTITIES.index("h")], expected_row(h[layer + 1], "h"))
            else:
                assert np.isnan(found[QUANTITIES.index("h")]).all(), "the readout has no activation"
    if activation == "sigmoid":
        ends = result.blocks["histograms"].values[
            0, 0, :, QUANTITIES.index("delta"), HISTOGRAMS.recorded.index("bin_high")
        ]
        assert ends[0] < ends[-1] - 6


def test_zeros_and_what_is_not_finite_are_counted_apart_over_600_decades() -> None:
    values = [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, -1e-300, 1e-45, 1.0, -3.0, 1e308, -0.95e308]
    tensor = torch.tensor([values, [0.0] * 12], dtype=torch.float64)
    for quantity in ("z", "delta"):
        found = histogram(tensor, quantity == "delta").numpy()
        assert_holds(found[0], expected_row(np.array(values), quantity, exact=True))
        assert_holds(found[1], expected_row(np.zeros(12), quantity))
    one = histogram(torch.full((1, 5), 2.5), False).numpy()[0]
    assert one[HISTOGRAMS.recorded.index("bin_01")] == 5 and one[-BINS:].sum() == 5


def test_float32_entries_are_binned_exactly() -> None:
    """The bins of float32 numbers by exact fractions: no rounding of theirs moves an entry."""
    values = torch.randn(1, 3000, generator=torch.Generator().manual_seed(5))
    assert_holds(histogram(values).numpy()[0], expected_row(values.double().numpy(), "z", exact=True))


def test_a_seed_has_the_counts_it_has_alone() -> None:
    sets = ["recording.histograms=true"]
    both = Training(make_stack(sets=sets), small()).run(None, None).blocks["histograms"].values
    alone = (
        Training(make_stack(sets=sets, seeds=1, first_seed=1), small())
        .run(None, None)
        .blocks["histograms"]
        .values
    )
    np.testing.assert_array_equal(both[1:], alone)


def test_a_training_that_was_cut_goes_on_with_its_histograms(tmp_path: Path) -> None:
    stack = make_stack(sets=["recording.histograms=true"], steps=4)
    whole = Training(stack, small()).run(None, None)
    first = Training(stack, small())
    for step in range(3):
        first._step(step, True)
    Checkpoint(tmp_path / "state", 1.0).write(first, stack, 3)
    rest = Training(stack, small()).run(None, Checkpoint(tmp_path / "state", 1e9))
    np.testing.assert_array_equal(rest.blocks["histograms"].values, whole.blocks["histograms"].values)


def request(out: Path, **flags: object):  # type: ignore[no-untyped-def]
    shape = {"activation": "relu", "depth": 3, "width": 8, "steps": 4, "record": "every:2", "seeds": 2}
    return resolve(flags={**shape, "out": str(out), **flags})


def test_the_table_is_written_where_it_is_asked_for_and_only_there(tmp_path: Path) -> None:
    outcome = execute(plan.make(request(tmp_path / "with", histograms=True, tables="both")))
    assert {"histograms.csv", "histograms.parquet"} <= {file.name for file in outcome.files}
    table = outcome.table("histograms")
    assert table is not None and len(table) == 2 * 3 * (4 + 3 + 4)  # seeds, records, layers of z, h and delta
    assert list(table["quantity"][:3]) == ["z", "h", "delta"] and set(table["step"]) == {0, 2, 4}
    bins = table.filter(regex=r"bin_\d").sum(axis=1)
    assert (bins + table["zeros"] + table["nonfinite"] == table["entries"]).all()
    batch = table[table["quantity"] == "delta"]
    assert set(batch.loc[batch["name"] != "output", "entries"]) == {64 * 8}
    again = execute(plan.make(request(tmp_path / "with", histograms=True, tables="both")))
    assert again.cached and again.table("histograms") is not None and again.table("histograms").equals(table)

    plain = execute(plan.make(request(tmp_path / "without", tables="both")))
    assert plain.table("histograms") is None and not any("histograms" in file.name for file in plain.files)
    for name in ("layers.csv", "steps.csv", "summary.csv"):
        assert (plain.out / name).read_bytes() == (outcome.out / name).read_bytes()


def test_zeros_of_the_table_are_the_zero_fraction_of_the_probe(tmp_path: Path) -> None:
    """With the whole training set as one batch and as probe, h's zeros are layers.csv's zero_fraction."""
    flags = {"data": "gaussian:samples=100", "batch_size": 80, "probe": "all", "steps": 0}
    outcome = execute(plan.make(request(tmp_path, histograms=True, **flags)))
    table = outcome.table("histograms")
    assert table is not None
    h = table[table["quantity"] == "h"].set_index(["seed", "layer"])
    expected = outcome.layers.dropna(subset="zero_fraction").set_index(["seed", "layer"])["zero_fraction"]
    np.testing.assert_allclose((h["zeros"] / h["entries"]).to_numpy(), expected, rtol=1e-15)
    assert (expected > 0.2).all()


def test_a_run_without_histograms_keeps_its_identity(tmp_path: Path) -> None:
    plain, asked = request(tmp_path), request(tmp_path, histograms=True)
    assert "histograms" not in plain.base.recording.differing()
    assert "histograms = false" in to_toml(plain.base) and "histograms = true" in to_toml(asked.base)
    assert plan.make(plain).id != plan.make(asked).id
    assert plan.make(plain).cells[0].id == plan.make(asked).cells[0].id
