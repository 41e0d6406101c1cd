"""summary.csv and rankings, against the numbers taken from the rows directly."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gradlab.analyse import rank, summarise
from gradlab.analyse.ranking import holm, told_from_first
from gradlab.base.errors import DataError
from gradlab.tables.cell import CELL
from gradlab.tables.spec import names
from gradlab.tables.summary import SUMMARY


@pytest.fixture
def noisy(cell):  # type: ignore[no-untyped-def]
    def scatter(layers, steps):  # type: ignore[no-untyped-def]
        rng = np.random.default_rng(0)
        for column in ("delta_rms", "delta_rms_predicted"):
            layers[column] *= np.exp(rng.normal(0, 0.3, len(layers)))
        layers["dead_fraction"] = rng.uniform(0, 0.5, len(layers))
        layers.loc[layers["name"] == "output", "dead_fraction"] = np.nan
        steps["train_loss"] += rng.uniform(0, 0.2, len(steps))
        steps["val_accuracy"] -= rng.uniform(0, 0.02, len(steps))

    return cell(decay=0.8, seeds=4, depth=7, change=scatter)


def test_every_number_of_the_summary_is_that_of_the_rows(noisy) -> None:  # type: ignore[no-untyped-def]
    layers, steps = noisy
    (row,) = summarise(layers, steps).to_dict("records")
    assert list(row) == [*names(CELL), *SUMMARY.every]
    hidden = layers[layers["name"] != "output"].sort_values("layer")

    def per_seed(step: int, function):  # type: ignore[no-untyped-def]
        return np.array([function(part) for _, part in hidden[hidden["step"] == step].groupby("seed")])

    def expect(name: str, values, ci: str | None = None) -> None:  # type: ignore[no-untyped-def]
        assert row[name] == pytest.approx(values.mean(), rel=1e-10)
        if ci:
            assert row[ci] == pytest.approx(
                stats.t.ppf(0.975, len(values) - 1) * stats.sem(values), rel=1e-10
            )

    def slope(column: str):  # type: ignore[no-untyped-def]
        return lambda part: 10 ** np.polyfit(7 - part["layer"], np.log10(part[column]), 1)[0]

    def attenuation(part):  # type: ignore[no-untyped-def]
        return np.log10(part["delta_rms"].iloc[0] / part["delta_rms"].iloc[-1])

    expect("attenuation_mean", per_seed(0, attenuation), "attenuation_ci95")
    expect("attenuation_last_mean", per_seed(1000, attenuation))
    expect("decay_per_layer_mean", per_seed(0, slope("delta_rms")), "decay_per_layer_ci95")
    expect("decay_per_layer_predicted", per_seed(0, slope("delta_rms_predicted")))
    expect("dead_fraction_max", per_seed(1000, lambda part: part["dead_fraction"].max()))
    last = steps[steps["step"] == 1000]
    expect("train_loss_mean", last["train_loss"].to_numpy(), "train_loss_ci95")
    expect("val_accuracy_mean", last["val_accuracy"].to_numpy(), "val_accuracy_ci95")
    assert (row["seeds"], row["verdict"], row["verdict_seeds"], row["advice"]) == (4, "healthy", "4/4", "")


def test_one_seed_has_no_interval(cell) -> None:  # type: ignore[no-untyped-def]
    (row,) = summarise(*cell(seeds=1)).to_dict("records")
    assert row["seeds"] == 1
    assert all(np.isnan(row[name]) for name in row if name.endswith("_ci95"))


def test_what_does_not_apply_is_nan_and_a_zero_gradient_is_minus_infinity(cell) -> None:  # type: ignore[no-untyped-def]
    def softmax(layers, steps):  # type: ignore[no-untyped-def]
        layers[["saturated_fraction", "dead_fraction", "delta_rms_predicted"]] = np.nan
        layers.loc[layers["layer"] == 1, "delta_rms"] = 0.0

    (row,) = summarise(*cell(change=softmax)).to_dict("records")
    assert np.isnan(
        [row["saturated_fraction_max"], row["dead_fraction_max"], row["decay_per_layer_predicted"]]
    ).all()
    assert row["attenuation_mean"] == -np.inf and np.isnan(row["attenuation_ci95"])
    assert row["decay_per_layer_mean"] == pytest.approx(1.0), "the layers above the zero still have a slope"


def test_seeds_that_were_recorded_at_other_steps_have_their_own_last_record(cell) -> None:  # type: ignore[no-untyped-def]
    layers, steps = cell(seeds=2)
    early = (layers["seed"] == 1) & (layers["step"] == 1000)
    layers.loc[(layers["seed"] == 1) & (layers["step"] == 500) & (layers["layer"] == 1), "delta_rms"] *= 100
    steps = steps[~((steps["seed"] == 1) & (steps["step"] == 1000))]
    (row,) = summarise(layers[~early], steps).to_dict("records")
    assert row["attenuation_last_mean"] == pytest.approx(1.0)
    assert row["val_accuracy_mean"] == pytest.approx(steps.groupby("seed")["val_accuracy"].last().mean())


def test_verdict_advice_and_seeds_stand_in_the_summary(cell) -> None:  # type: ignore[no-untyped-def]
    bad = cell(depth=20, decay=0.236, learns=False, activation="sigmoid", cell="bad")
    good = cell(cell="good")
    found = summarise(pd.concat([bad[0], good[0]]), pd.concat([bad[1], good[1]])).set_index("cell")
    assert found.loc["bad", "verdict"] == "vanishing,not-learning"
    assert found.loc["bad", "verdict_seeds"] == "3/3,3/3"
    assert "--activation relu" in found.loc["bad", "advice"]
    assert found.loc["good", "verdict"] == "healthy"


def cells_with(accuracy: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        {"cell": name, "seed": seed, "step": step, "val_accuracy": value * step / 10, "train_loss": 1 - value}
        for name, values in accuracy.items()
        for seed, value in enumerate(values)
        for step in (0, 10)
    ]
    return pd.DataFrame(rows)


def test_a_ranking_tells_noise_from_difference_by_the_paired_test() -> None:
    data = {"a": [0.90, 0.92, 0.91, 0.93], "b": [0.89, 0.93, 0.90, 0.93], "c": [0.50, 0.53, 0.51, 0.52]}
    found = rank(cells_with(data)).set_index("cell")
    assert list(found.index) == ["a", "b", "c"] and list(found["rank"]) == [1, 2, 3]
    assert list(found["within_noise"]) == [True, True, False]
    raw = {pair: stats.ttest_rel(data[pair[0]], data[pair[1]]).pvalue for pair in ("ba", "ca", "cb")}
    assert raw["ca"] < raw["cb"] < raw["ba"], (
        "three pairs: Holm multiplies the smallest p by 3, the largest by 1"
    )
    assert found.loc["c", "p_value"] == pytest.approx(3 * raw["ca"])
    assert found.loc["b", "p_value"] == pytest.approx(raw["ba"])
    interval = stats.ttest_rel(data["b"], data["a"]).confidence_interval()
    assert found.loc["b", "behind_best_ci95"] == pytest.approx((interval.high - interval.low) / 2)
    assert list(rank(cells_with(data), "train_loss")["cell"]) == ["a", "b", "c"]


def test_of_equal_cells_the_best_by_chance_is_rarely_told_apart() -> None:
    rng = np.random.default_rng(0)
    families, cells, seeds = 100, 20, 10
    wrong = 0
    for _ in range(families):
        values = rng.normal(size=(cells, seeds))
        ranked = values[np.argsort(-values.mean(1))]
        wrong += bool((told_from_first([(np.arange(seeds), row) for row in ranked])[1:] < 0.05).any())
    # At most 5 % of families may err, but for three standard deviations of that count. Corrected over the pairs with
    # the best alone it is a fifth.
    assert wrong <= 0.05 * families + 3 * np.sqrt(families * 0.05 * 0.95)


def test_one_seed_ranks_and_distinguishes_nothing() -> None:
    found = rank(cells_with({"a": [0.1], "b": [0.9]}))
    assert list(found["cell"]) == ["b", "a"] and found["within_noise"].all()


def test_a_cell_that_diverged_is_last_and_not_within_the_noise() -> None:
    found = rank(cells_with({"a": [np.nan, 0.9], "b": [0.2, 0.3]}))
    assert list(found["cell"]) == ["b", "a"] and list(found["within_noise"]) == [True, False]


def test_only_common_seeds_are_paired() -> None:
    steps = cells_with({"a": [0.9, 0.8, 0.7], "b": [0.8, 0.7, 0.6]})
    found = rank(steps[~((steps["cell"] == "b") & (steps["seed"] == 0))]).set_index("cell")
    assert found.loc["b", "behind_best"] == pytest.approx(-0.1)


def test_a_ranking_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="no rows"):
        rank(cells_with({"a": [0.1]})[:0])
    with pytest.raises(DataError, match="no column 'test_accuracy'"):
        rank(cells_with({"a": [0.1]}), "test_accuracy")


def test_holm_is_the_step_down_correction() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04, 0.03])), [0.03, np.nan, 0.06, 0.06])


def test_measured_and_predicted_decay_are_fitted_through_the_same_layers(cell) -> None:  # type: ignore[no-untyped-def]
    """Batch norm leaves layer 1 without a prediction."""

    def unpredicted(layers: pd.DataFrame, steps: pd.DataFrame) -> None:
        layers.loc[layers["layer"] == 1, "delta_rms_predicted"] = np.nan
        layers.loc[layers["layer"] == 1, "delta_rms"] *= 50

    (row,) = summarise(*cell(decay=0.7, change=unpredicted)).to_dict("records")
    assert row["decay_per_layer_mean"] == pytest.approx(0.7)
    assert row["decay_per_layer_predicted"] == pytest.approx(0.7)
