"""Every published rule on both sides of its published boundary."""

import numpy as np
import pandas as pd
import pytest

from gradlab.analyse.diagnosis import diagnose


def fired(tables, ruleset: str) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """Rule name -> verdict of what a ruleset finds."""
    (diagnosis,) = diagnose(*tables, ruleset)
    return {finding.rule: finding.verdict for finding in diagnosis.findings}


def set_layers(mask, **values):  # type: ignore[no-untyped-def]
    """A change of the rows of layers.csv that `mask(frame)` picks."""

    def change(layers: pd.DataFrame, steps: pd.DataFrame) -> None:
        for column, value in values.items():
            layers.loc[mask(layers), column] = value

    return change


def at(layer: int, step: int | None = None):  # type: ignore[no-untyped-def]
    return lambda f: (f["layer"] == layer) & ((f["step"] == step) if step is not None else True)


QUIET = {"weight_grad_p05": -1.0, "weight_grad_p95": 1.0}


@pytest.mark.parametrize(
    ("rule", "verdict", "below", "above"),
    [
        (
            "VanishingGradient",
            "vanishing",
            {"weight_grad_mean_abs": 1.01e-7},
            {"weight_grad_mean_abs": 0.99e-7},
        ),
        ("ExplodingTensor", "diverged", {"nonfinite": 0}, {"nonfinite": 1}),
        (
            "DeadRelu",
            "dead",
            {"low_activity_fraction": 0.5, "zero_fraction": 0.6},
            {"low_activity_fraction": 0.51, "zero_fraction": 0.6},
        ),
        (
            "DeadRelu",
            "dead",
            {"low_activity_fraction": 1.0, "zero_fraction": 0.0},  # stuck in relu6's upper flat part
            {"low_activity_fraction": 1.0, "zero_fraction": 0.99},
        ),
        ("WeightUpdateRatio", "other", {"update_ratio": 10.0}, {"update_ratio": 10.1}),
        ("WeightUpdateRatio", "other", {"update_ratio": 1e-8}, {"update_ratio": 0.99e-8}),
    ],
)
def test_smdebug_at_its_boundaries(cell, rule, verdict, below, above) -> None:  # type: ignore[no-untyped-def]
    relu = {"activation": "relu", "layers_more": QUIET}
    assert rule not in fired(cell(change=set_layers(at(3), **below), **relu), "smdebug")
    assert fired(cell(change=set_layers(at(3), **above), **relu), "smdebug")[rule] == verdict


@pytest.mark.parametrize("size", [0.01, 30.0])
def test_smdebug_compares_variances_whatever_their_size(cell, size: float) -> None:  # type: ignore[no-untyped-def]
    for times, fires in ((9.9, False), (10.1, True)):
        more = QUIET | {"z_std": size}
        tables = cell(layers_more=more, change=set_layers(at(3, 8), z_std=size * np.sqrt(times)))
        assert ("PoorWeightInitialization" in fired(tables, "smdebug")) == fires


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ({"z_std": np.sqrt(9.9)}, {"z_std": np.sqrt(10.1)}),  # variances of the layers' inputs
        (
            {"weight_grad_p05": -0.0006, "weight_grad_p95": 0.0006},
            {"weight_grad_p05": 0.0, "weight_grad_p95": 0.0009},
        ),
    ],
)
def test_smdebug_poor_initialisation_looks_at_the_first_ten_steps(cell, below, above) -> None:  # type: ignore[no-untyped-def]
    rule = "PoorWeightInitialization"
    assert rule not in fired(cell(layers_more=QUIET, change=set_layers(at(3, 8), **below)), "smdebug")
    assert rule in fired(cell(layers_more=QUIET, change=set_layers(at(3, 8), **above)), "smdebug")
    assert rule not in fired(cell(layers_more=QUIET, change=set_layers(at(3, 16), **above)), "smdebug")


@pytest.mark.parametrize(("stalled", "expected"), [(4, False), (5, True)])
def test_smdebug_poor_initialisation_by_a_loss_stalled_for_five_steps(cell, stalled, expected) -> None:  # type: ignore[no-untyped-def]
    def stall(layers, steps):  # type: ignore[no-untyped-def]
        steps["train_loss"] = np.where(steps["step"] <= stalled, 2.3, 2.0 - steps["step"] / 1000)

    tables = cell(steps=(*range(10), 200), layers_more=QUIET, change=stall)
    assert ("PoorWeightInitialization" in fired(tables, "smdebug")) == expected


@pytest.mark.parametrize(("fall", "expected"), [(0.0011, False), (0.0009, True)])
def test_smdebug_loss_must_fall_a_tenth_of_a_percent_in_ten_steps(cell, fall, expected) -> None:  # type: ignore[no-untyped-def]
    def slowly(layers, steps):  # type: ignore[no-untyped-def]
        steps["train_loss"] = 2.3 * (1 - fall) ** (steps["step"] / 10)

    tables = cell(steps=(0, 5, 10, 20, 30), layers_more=QUIET, change=slowly)
    assert ("LossNotDecreasing" in fired(tables, "smdebug")) == expected


def test_smdebug_unchanged_tensor_needs_three_steps_in_a_row(cell) -> None:  # type: ignore[no-untyped-def]
    def still(count: int):  # type: ignore[no-untyped-def]
        return set_layers(lambda f: (f["layer"] == 2) & (f["step"] < count), update_ratio=0.0)

    steps = (0, 1, 2, 3, 200)
    assert "UnchangedTensor" not in fired(cell(steps=steps, change=still(2)), "smdebug")
    assert "UnchangedTensor" in fired(cell(steps=steps, change=still(3)), "smdebug")
    assert "UnchangedTensor" not in fired(cell(steps=(0, 100, 200), change=still(201)), "smdebug")


def ratio(norm_1: float, norm_out: float):  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        layers["weight_grad_norm"] = np.where(layers["layer"] == 1, norm_1, norm_out)

    return change


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (ratio(0.99e-4, 0.1), "vanishing"),
        (ratio(1.01e-4, 1.0), None),  # the norm itself is not small enough
        (ratio(0.99e-4, 0.09), None),  # the ratio is not
        (ratio(7.1, 0.1), "exploding"),
        (ratio(6.9, 0.1), None),
        (set_layers(lambda f: f["layer"] > 0, grad_zero_fraction=0.7), "dead"),
        (set_layers(lambda f: f["layer"] > 0, grad_zero_fraction=0.69), None),
        (set_layers(at(2), nonfinite=3), "diverged"),
    ],
)
def test_autotrainer_at_its_boundaries_in_a_net_with_bad_accuracy(cell, change, verdict) -> None:  # type: ignore[no-untyped-def]
    found = fired(cell(learns=False, change=change), "autotrainer")
    found.pop("Slow convergence")
    assert list(found.values()) == ([verdict] if verdict else [])


def test_autotrainer_counts_gradient_verdicts_only_where_accuracy_is_bad(cell) -> None:  # type: ignore[no-untyped-def]
    def ends_at(accuracy: float):  # type: ignore[no-untyped-def]
        def change(layers, steps):  # type: ignore[no-untyped-def]
            ratio(7.1, 0.1)(layers, steps)
            steps.loc[steps["step"] == 1000, ["train_accuracy", "val_accuracy"]] = accuracy

        return change

    assert fired(cell(change=ends_at(0.69)), "autotrainer") == {"Gradient explode": "exploding"}
    assert fired(cell(change=ends_at(0.7)), "autotrainer") == {}


def test_autotrainer_reports_the_first_of_relu_explode_vanish(cell) -> None:  # type: ignore[no-untyped-def]
    def both(layers, steps):  # type: ignore[no-untyped-def]
        ratio(7.1, 0.1)(layers, steps)
        layers["grad_zero_fraction"] = 0.9

    found = fired(cell(learns=False, change=both), "autotrainer")
    assert "Dying ReLU" in found and "Gradient explode" not in found


@pytest.mark.parametrize(("gain", "expected"), [(0.009, True), (0.011, False)])
def test_autotrainer_slow(cell, gain, expected) -> None:  # type: ignore[no-untyped-def]
    def slowly(layers, steps):  # type: ignore[no-untyped-def]
        steps["train_accuracy"] = 0.1 + gain * steps.groupby("seed").cumcount()

    assert ("Slow convergence" in fired(cell(change=slowly), "autotrainer")) == expected


@pytest.mark.parametrize(
    ("rule", "verdict", "below", "above"),
    [
        (
            "Vanishing gradient",
            "vanishing",
            {"weight_grad_mean_abs": 1.01e-6},
            {"weight_grad_mean_abs": 0.99e-6},
        ),
        (
            "Exploding gradient",
            "exploding",
            {"weight_grad_mean_abs": 0.99e6},
            {"weight_grad_mean_abs": 1.01e6},
        ),
        ("Activation std out of range", "other", {"h_rms": 0.51}, {"h_rms": 0.49}),
        ("Activation std out of range", "other", {"h_rms": 1.99}, {"h_rms": 2.01}),
        ("Dead activations", "dead", {"low_activity_fraction": 0.5}, {"low_activity_fraction": 0.51}),
        ("Numerical instability", "diverged", {"nonfinite": 0}, {"nonfinite": 1}),
    ],
)
def test_deepchecker_at_its_boundaries(cell, rule, verdict, below, above) -> None:  # type: ignore[no-untyped-def]
    relu = {"activation": "relu", "layers_more": {"zero_fraction": 0.5}}
    assert rule not in fired(cell(change=set_layers(at(3), **below), **relu), "deepchecker")
    assert fired(cell(change=set_layers(at(3), **above), **relu), "deepchecker")[rule] == verdict


@pytest.mark.parametrize(
    ("factor", "rule"),
    [(0.5, "Vanishing gradient"), (0.51, None), (2.0, "Exploding gradient"), (1.99, None)],
)
def test_deepchecker_ratios_of_successive_layers_must_all_agree(cell, factor, rule) -> None:  # type: ignore[no-untyped-def]
    def geometric(layers, steps):  # type: ignore[no-untyped-def]
        layers["weight_grad_mean_abs"] = 0.01 * factor ** (11.0 - layers["layer"])

    found = set(fired(cell(change=geometric), "deepchecker"))
    assert found == ({rule} if rule else set())

    def broken(layers, steps):  # type: ignore[no-untyped-def]
        geometric(layers, steps)
        layers.loc[layers["layer"] == 5, "weight_grad_mean_abs"] = layers.loc[
            layers["layer"] == 6, "weight_grad_mean_abs"
        ].to_numpy()

    assert fired(cell(change=broken), "deepchecker") == {}


def later(*changes):  # type: ignore[no-untyped-def]
    """Several changes, one after another."""

    def change(layers: pd.DataFrame, steps: pd.DataFrame) -> None:
        for each in changes:
            each(layers, steps)

    return change


def losses(values):  # type: ignore[no-untyped-def]
    """A change that gives every seed these training losses, one a record."""

    def change(layers: pd.DataFrame, steps: pd.DataFrame) -> None:
        steps["train_loss"] = np.tile(values, steps["seed"].nunique())

    return change


def not_applicable(tables, ruleset: str) -> set[str]:  # type: ignore[no-untyped-def]
    (diagnosis,) = diagnose(*tables, ruleset)
    return {reason.partition(":")[0] for reason in diagnosis.not_applicable}


# The norm over a batch of 64 of the gradient by an output of 64 units is delta_rms itself; in the readout, which has 10
# units, it is 0.3 sqrt(10 / 64) = 0.118585.


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (set_layers(at(1), delta_rms=0.00118), True),
        (set_layers(at(1), delta_rms=0.00119), False),
        (set_layers(at(2), delta_rms=0.00118), False),  # the first layer counts
        (set_layers(at(1), delta_rms=0.0), True),
        (set_layers(lambda f: f["layer"] >= 1, delta_rms=0.0), True),
        (set_layers(lambda f: f["layer"] == 11, delta_rms=0.0), False),
        (set_layers(lambda f: (f["layer"] == 1) & (f["step"] <= 250), delta_rms=1e-9), False),
        (set_layers(lambda f: (f["layer"] == 1) & (f["step"] >= 500), delta_rms=0.00118), True),
        (set_layers(at(1, 1000), delta_rms=0.00118), False),  # the mean of the second half counts
    ],
)
def test_torchmortem_vanishing_is_the_last_layers_norm_over_the_firsts(cell, change, expected) -> None:  # type: ignore[no-untyped-def]
    found = fired(cell(change=change), "torchmortem")
    assert found.get("Vanishing gradients detected") == ("vanishing" if expected else None)


def test_torchmortem_norms_are_over_the_whole_batch(cell) -> None:  # type: ignore[no-untyped-def]
    def four_batches(size: float):  # type: ignore[no-untyped-def]
        return set_layers(at(3, 8), delta_rms=size, batch=256)

    rule = "Exploding gradients detected"
    assert rule not in fired(cell(change=set_layers(at(3, 8), delta_rms=999.0)), "torchmortem")
    assert fired(cell(change=set_layers(at(3, 8), delta_rms=1001.0)), "torchmortem")[rule] == "exploding"
    assert rule not in fired(cell(change=four_batches(1999.0)), "torchmortem")
    assert rule in fired(cell(change=four_batches(2001.0)), "torchmortem")


@pytest.mark.parametrize(
    ("steps", "still", "size", "expected"),
    [
        (range(10), (4, 5, 6), 0.99e-8, True),
        (range(10), (4, 5, 6), 1.01e-8, False),
        (range(10), (4, 5), 0.99e-8, False),
        ((0, 7, 10), (7,), 0.99e-8, False),  # 3 of 11 steps
        ((0, 7, 10), (7, 10), 0.99e-8, True),  # 4 of 11
    ],
)
def test_torchmortem_stalling_counts_steps(cell, steps, still, size, expected) -> None:  # type: ignore[no-untyped-def]
    change = set_layers(lambda f: (f["layer"] == 4) & f["step"].isin(still), delta_rms=size)
    found = fired(cell(steps=tuple(steps), change=change), "torchmortem")
    assert found.get("Gradient stalling") == ("no-gradient" if expected else None)


def test_torchmortem_takes_a_missed_gradient_for_zero_only_where_one_comes_at_other_steps(cell) -> None:  # type: ignore[no-untyped-def]
    def missed(*steps: int):  # type: ignore[no-untyped-def]
        rows = {"delta_rms": np.nan, "weight_grad_norm": np.nan}
        return set_layers(lambda f: (f["layer"] == 4) & f["step"].isin(steps), **rows)

    def stalls(change) -> bool:  # type: ignore[no-untyped-def]
        return "Gradient stalling" in fired(cell(steps=tuple(range(10)), change=change), "torchmortem")

    assert stalls(missed(4, 5, 6)) and not stalls(missed(4, 5)) and not stalls(missed(*range(10)))
    assert not stalls(later(missed(4, 5, 6), set_layers(at(4), weight_grad_norm=0.1)))
    assert not stalls(later(missed(4, 5, 6), set_layers(at(4), nonfinite=2)))


@pytest.mark.parametrize(
    ("ratio", "rule"),
    [
        (0.99e-5, "Update ratio too low"),
        (1.01e-5, None),
        (0.099, None),
        (0.101, "Update ratio too high"),
        (0.0, None),
    ],
)
def test_torchmortem_update_ratio_at_its_boundaries(cell, ratio, rule) -> None:  # type: ignore[no-untyped-def]
    change = set_layers(lambda f: (f["layer"] == 3) & (f["step"] >= 5), update_ratio=ratio)
    found = fired(cell(steps=tuple(range(11)), change=change), "torchmortem")
    words = {"Update ratio too low": "rate-too-low", "Update ratio too high": "rate-too-high"}
    assert {name: found[name] for name in words if name in found} == ({rule: words[rule]} if rule else {})


def test_torchmortem_update_ratio_is_a_median_of_the_second_half_without_zeros(cell) -> None:  # type: ignore[no-untyped-def]
    def high(*steps: int, zero: tuple[int, ...] = ()):  # type: ignore[no-untyped-def]
        change = later(
            set_layers(lambda f: (f["layer"] == 3) & f["step"].isin(steps), update_ratio=0.2),
            set_layers(lambda f: (f["layer"] == 3) & f["step"].isin(zero), update_ratio=0.0),
        )
        return "Update ratio too high" in fired(cell(steps=tuple(range(10)), change=change), "torchmortem")

    # Ten steps: step 0 is left out, and the second half of the others is 5 to 9.
    assert not high(0, 1, 2, 3, 4) and not high(5, 6) and high(5, 6, 7)
    assert high(5, 6, zero=(7, 8)) and not high(5, zero=(6, 7))


@pytest.mark.parametrize(("ratio", "expected"), [(0.19, False), (0.21, True)])
def test_torchmortem_update_ratio_is_to_the_weights_after_the_update(cell, ratio, expected) -> None:  # type: ignore[no-untyped-def]
    def doubling(layers, steps):  # type: ignore[no-untyped-def]
        layers["weight_norm"] = 2.0 ** layers["step"]
        layers["update_ratio"] = ratio

    tables = cell(steps=tuple(range(10)), change=later(doubling, set_layers(at(3, 9), update_ratio=np.nan)))
    assert ("Update ratio too high" in fired(tables, "torchmortem")) == expected


def test_torchmortem_update_ratio_is_certain_without_the_weights_after_the_update(cell) -> None:  # type: ignore[no-untyped-def]
    def said(ratio: float) -> tuple[bool, bool]:
        tables = cell(
            change=set_layers(at(3), update_ratio=ratio)
        )  # no two steps in a row in the second half
        rule = "Update ratio too high"
        return rule in fired(tables, "torchmortem"), rule in not_applicable(tables, "torchmortem")

    assert said(0.09) == (False, False)  # at most 0.09 / 0.91 = 0.0989
    assert said(0.1) == (False, True)
    assert said(0.112) == (True, False)  # at least 0.112 / 1.112 = 0.1007


@pytest.mark.parametrize(
    ("change", "rule", "verdict"),
    [
        (set_layers(at(3, 1000), zero_fraction=0.51), "Dead units", "dead"),
        (set_layers(at(3, 1000), zero_fraction=0.5), "Dead units", None),
        (set_layers(at(3, 250), zero_fraction=0.9), "Dead units", None),  # in the first half
        (set_layers(at(3, 1000), h_rms=0.976), "Activation saturation", "saturated"),
        (set_layers(at(3, 1000), h_rms=0.975), "Activation saturation", None),
        (set_layers(at(3, 250), h_rms=1.0), "Activation saturation", None),
        (set_layers(at(3, 1000), weight_norm=80.1), "Weight norm explosion", "unstable"),
        (set_layers(at(3, 1000), weight_norm=80.0), "Weight norm explosion", None),
        (set_layers(at(3, 1), weight_norm=0.79), "Weight norm explosion", "unstable"),
        (set_layers(at(3, 0), weight_norm=0.79), "Weight norm explosion", None),
        (set_layers(at(3, 1000), weight_norm=0.0799), "Inter-layer weight norm imbalance", "other"),
        (set_layers(at(3, 1000), weight_norm=0.0801), "Inter-layer weight norm imbalance", None),
        (set_layers(at(3, 1000), weight_norm=0.0), "Inter-layer weight norm imbalance", None),
    ],
)
def test_torchmortem_activations_and_weights_at_their_boundaries(cell, change, rule, verdict) -> None:  # type: ignore[no-untyped-def]
    assert fired(cell(change=change), "torchmortem").get(rule) == verdict


def test_torchmortem_stagnant_weights(cell) -> None:  # type: ignore[no-untyped-def]
    def grows(by: float):  # type: ignore[no-untyped-def]
        return set_layers(lambda f: f["step"] == f["step"].max(), weight_norm=8.0 * (1 + by))

    def stagnant(**more) -> bool:  # type: ignore[no-untyped-def]
        return "Stagnant weight norms" in fired(cell(**more), "torchmortem")

    assert stagnant(change=grows(0.99e-4)) and not stagnant(change=grows(1.01e-4))
    assert not stagnant(steps=(0, 1, 2, 3)) and stagnant(steps=(0, 1, 2, 3, 4))
    without_the_first = cell(steps=(0, 2, 4, 8))
    assert {"Stagnant weight norms", "Weight norm explosion"} <= not_applicable(
        without_the_first, "torchmortem"
    )


def scatter(*pattern: float):  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        layers["delta_rms"] = np.array(pattern)[layers["step"] % len(pattern)]

    return change


NOISE = "High gradient noise (low SNR)"


# Of a, a, a, 1 the mean is (3 a + 1) / 4 and the standard deviation sqrt(3) (1 - a) / 4.
@pytest.mark.parametrize(("least", "expected"), [(0.15, True), (0.16, False)])  # 0.985 and 1.017
def test_torchmortem_noise_at_its_boundary(cell, least, expected) -> None:  # type: ignore[no-untyped-def]
    change = scatter(least, least, least, 1.0)
    assert (NOISE in fired(cell(steps=tuple(range(40)), change=change), "torchmortem")) == expected


def test_torchmortem_noise_needs_twenty_steps_and_five_of_them_late(cell) -> None:  # type: ignore[no-untyped-def]
    def said(*steps: int) -> tuple[bool, bool]:
        tables = cell(steps=steps, change=scatter(0.0, 0.0, 0.0, 4.0))
        return NOISE in fired(tables, "torchmortem"), NOISE in not_applicable(tables, "torchmortem")

    assert said(*range(19)) == (False, False) and said(*range(20)) == (True, False)
    assert said(*range(16), 40, 41, 42, 43) == (False, True)
    assert said(*range(16), 40, 41, 42, 43, 44) == (True, False)
    assert said(0, 10, 20, 40, 60, 80) == (False, True)


RISING = np.array([1.0] * 40 + [10.0] * 20)


@pytest.mark.parametrize(
    ("values", "rule", "verdict"),
    [
        # Smoothed, a jump by x is 1 + 0.1 x at once and 1 + (1 - 0.9^20) x = 1 + 0.8784 x after 20 steps: 1.5 times as
        # much where x is at least 0.5 / (0.8784 - 0.15) = 0.686.
        ([1.0] * 40 + [1.69] * 20, "Training divergence detected", "diverged"),
        ([1.0] * 40 + [1.68] * 20, "Training divergence detected", None),
        (2.0 ** np.arange(10), "Training divergence detected", "diverged"),
        (2.0 ** np.arange(9), "Training divergence detected", None),  # half of nine steps is too few
        # 16 of the 19 changes are upwards, and 15.
        (RISING - 10 * np.isin(np.arange(60), (45, 50, 55)), "Training divergence detected", "diverged"),
        (RISING - 10 * np.isin(np.arange(60), (45, 50, 55, 58)), "Training divergence detected", None),
        ([1.0] * 41, "Loss plateau detected", "not-learning"),
        ([1.0] * 40, "Loss plateau detected", None),
        # Ten steps after a jump by x the smoothed loss has moved by (1 - 0.9^10) x = 0.6513 x.
        ([1.0] * 30 + [1 + 1.53e-5] * 11, "Loss plateau detected", "not-learning"),
        ([1.0] * 30 + [1 + 1.54e-5] * 11, "Loss plateau detected", None),
        ([1.0, 1.0, 2.01, 0.99] + [0.9] * 6, "Catapult phase detected", "other"),
        ([1.0, 1.0, 2.01, 0.99] + [0.9] * 5, "Catapult phase detected", None),  # nine steps are too few
        ([1.0, 1.0, 2.0, 0.99] + [0.9] * 26, "Catapult phase detected", None),
        ([1.0, 1.0, 2.01] + [1.0] * 27, "Catapult phase detected", None),  # it does not come back
        ([1.0, 2.01, 0.99] + [0.9] * 27, "Catapult phase detected", None),  # from the third step on
        ([1.0] * 5 + [2.01] + [0.9] * 24, "Catapult phase detected", None),  # in the first five
        ([1.0] * 5 + [2.01] + [0.9] * 54, "Catapult phase detected", "other"),  # in the first tenth
    ],
)
def test_torchmortem_loss_at_its_boundaries(cell, values, rule, verdict) -> None:  # type: ignore[no-untyped-def]
    tables = cell(steps=tuple(range(len(values))), change=losses(values))
    assert fired(tables, "torchmortem").get(rule) == verdict


def test_torchmortem_insights_hold_where_their_parts_do(cell) -> None:  # type: ignore[no-untyped-def]
    vanishing = set_layers(at(1), delta_rms=1e-4)
    dead = set_layers(at(3), zero_fraction=0.9)
    exploding = set_layers(at(5, 8), delta_rms=1e4)
    heavy = set_layers(at(3, 1000), weight_norm=100.0)
    for parts, name in (
        ((vanishing, dead), "gradient_starvation"),
        (
            (exploding, heavy),
            "instability_feedback_loop",
        ),
    ):
        assert name in fired(cell(change=later(*parts)), "torchmortem")
        assert all(name not in fired(cell(change=part), "torchmortem") for part in parts)


@pytest.mark.parametrize(
    ("rule", "verdict", "below", "above"),
    [
        ("gradient_vanishing", "vanishing", {"delta_rms": 1.01e-6}, {"delta_rms": 0.99e-6}),
        ("gradient_vanishing", "vanishing", {"delta_rms": 1.01e-6}, {"delta_rms": 0.0}),
        ("gradient_exploding", "exploding", {"delta_rms": 999.0}, {"delta_rms": 1001.0}),
        ("gradient_saturated", "saturated", {"delta_rms": 1.01e-4}, {"delta_rms": 0.99e-4}),
        ("gradient_saturated", "saturated", {"delta_rms": 0.99e-6}, {"delta_rms": 1.01e-6}),
        (
            "activation_dead",
            "dead",
            {"batch_dead_fraction": 0.9, "zero_fraction": 0.95},
            {"batch_dead_fraction": 0.91, "zero_fraction": 0.95},
        ),
        (
            "activation_dead",
            "dead",
            {"batch_dead_fraction": 1.0, "zero_fraction": 0.0},  # flat and not 0
            {"batch_dead_fraction": 1.0, "zero_fraction": 1.0},
        ),
        ("activation_saturated", "saturated", {"h_rms": 0.975}, {"h_rms": 0.976}),
        (
            "data_nan_detected or data_inf_detected",
            "diverged",
            {"nonfinite": 1},  # in the gradient alone
            {"nonfinite": 1, "z_std": np.nan},
        ),
    ],
)
def test_neuraldbg_at_its_boundaries_and_at_the_end(cell, rule, verdict, below, above) -> None:  # type: ignore[no-untyped-def]
    end = f"{rule} at the end"
    for step in (8, 1000):
        assert rule not in fired(cell(change=set_layers(at(3, step), **below)), "neuraldbg")
        found = fired(cell(change=set_layers(at(3, step), **above)), "neuraldbg")
        assert found.get(rule) == verdict
        assert found.get(end) == (verdict if step == 1000 else None)


def test_neuraldbg_ends_with_the_last_gradient_that_a_layer_got(cell) -> None:  # type: ignore[no-untyped-def]
    small, none = (
        set_layers(at(3, 500), delta_rms=1e-9),
        set_layers(at(3, 1000), delta_rms=np.nan),
    )
    rule = "gradient_vanishing at the end"
    assert rule not in fired(cell(change=small), "neuraldbg")
    assert rule in fired(cell(change=later(small, none)), "neuraldbg")
    broken = set_layers(at(3, 1000), nonfinite=5)  # NaN is neither small nor large
    assert rule not in fired(cell(change=later(small, none, broken)), "neuraldbg")


@pytest.mark.parametrize(
    ("values", "rule", "verdict", "ends"),
    [
        ([1.0, 2.0, 1.0, 0.8, 0.2, 10.1], "optimizer_loss_spike", "unstable", True),  # after a mean of 1
        ([1.0, 2.0, 1.0, 0.8, 0.2, 9.9], "optimizer_loss_spike", None, False),
        ([1.0, 2.0, 1.0, 0.8, 0.2, 10.1, 1.0], "optimizer_loss_spike", "unstable", False),
        ([1.0, 2.0, 10.0, 100.0], "optimizer_loss_spike", None, False),  # from the fifth loss on
        # The standard deviation of four losses of 1 and one of 1 + x is 0.4 x.
        ([9.0, 7.0, 5.0, 1, 1, 1, 1, 1 + 2.4e-4], "optimizer_loss_plateau", "not-learning", True),
        ([9.0, 7.0, 5.0, 1, 1, 1, 1, 1 + 2.6e-4], "optimizer_loss_plateau", None, False),
        ([1.0, 1.0, 1.0, 0.5, 0.3, 0.2], "optimizer_loss_plateau", "not-learning", False),
        ([1.0, 1.0], "optimizer_loss_plateau", None, False),
        ([1.0, 2.0, 1.0, np.nan], "optimizer_diverging", "diverged", True),
        ([np.inf, 3.0, 2.0, 1.0, 0.5], "optimizer_diverging", "diverged", True),
        ([np.inf, 3.0, 2.0, 1.0, 0.5, 0.3], "optimizer_diverging", "diverged", False),
        ([1.0, np.nan], "optimizer_diverging", None, False),  # from the third loss on
    ],
)
def test_neuraldbg_loss_at_its_boundaries(cell, values, rule, verdict, ends) -> None:  # type: ignore[no-untyped-def]
    found = fired(cell(steps=tuple(range(len(values))), change=losses(values)), "neuraldbg")
    assert found.get(rule) == verdict
    assert found.get(f"{rule} at the end") == (verdict if ends else None)


def test_neuraldbg_sees_a_lost_loss_at_any_record(cell) -> None:  # type: ignore[no-untyped-def]
    values = [2.0] * 11 + [np.nan]
    found = fired(cell(change=losses(values)), "neuraldbg")
    assert found["optimizer_diverging"] == found["optimizer_diverging at the end"] == "diverged"


GRADIENT_RULES = {
    "torchmortem": {"Vanishing gradients detected", "Exploding gradients detected"},
    "neuraldbg": {"gradient_exploding", "gradient_exploding at the end"},
}


@pytest.mark.parametrize("ruleset", GRADIENT_RULES)
def test_without_the_numbers_that_a_layer_puts_out_a_gradients_norm_is_known_only_from_one_side(
    cell, ruleset
) -> None:  # type: ignore[no-untyped-def]
    def users(layers, steps):  # type: ignore[no-untyped-def]
        layers.drop(columns="outputs", inplace=True)

    unknown = cell(change=users)
    assert GRADIENT_RULES[ruleset] <= not_applicable(unknown, ruleset)
    assert not GRADIENT_RULES[ruleset] & not_applicable(cell(), ruleset)

    def of_layer_1(size: float):  # type: ignore[no-untyped-def]
        return cell(change=later(users, set_layers(at(1), delta_rms=size)))

    # One number a sample, the least there can be, has in a batch of 64 the norm delta_rms / 8.
    assert "exploding" not in fired(of_layer_1(7999.0), ruleset).values()
    assert "exploding" in fired(of_layer_1(8001.0), ruleset).values()
    assert "vanishing" in fired(of_layer_1(0.0), ruleset).values()
    assert "vanishing" not in fired(of_layer_1(1e-9), ruleset).values()
    small = {"torchmortem": (1e-9, "Gradient stalling"), "neuraldbg": (1e-6, "gradient_vanishing")}[ruleset]
    assert small[1] in not_applicable(of_layer_1(small[0]), ruleset)
    assert small[1] not in not_applicable(of_layer_1(100 * small[0]), ruleset)


def test_torchmortem_does_not_know_the_gradient_in_front_of_a_norm(cell) -> None:  # type: ignore[no-untyped-def]
    rule = "Vanishing gradients detected"
    for norm, known in ("batch", False), ("batch:position=post", True):
        layers, steps = cell(change=set_layers(at(1), delta_rms=0.0))
        layers["norm"] = steps["norm"] = norm
        assert (rule in fired((layers, steps), "torchmortem")) == known
        assert (rule in not_applicable((layers, steps), "torchmortem")) == (not known)


def test_what_a_record_cannot_express_is_not_applicable_and_never_guessed(cell) -> None:  # type: ignore[no-untyped-def]
    names = {
        "smdebug": {"SaturatedActivation", "DeadRelu"},
        "autotrainer": {"Oscillating loss"},
        "deepchecker": {"Saturated activations", "Learning too fast or slow", "Dead activations"},
        "torchmortem": {
            "Activation saturation",
            "Training divergence detected",
            "Loss plateau detected",
            "Catapult phase detected",
            "Edge of stability regime detected",
            "Rank collapse",
            "High gradient noise (low SNR)",
            "representation_bottleneck",
            "curvature_traps",
        },
        "neuraldbg": {
            name + end
            for name in (
                "activation_saturated",
                "optimizer_loss_spike",
                "optimizer_loss_plateau",
                "data_distribution_shift",
            )
            for end in ("", " at the end")
        },
    }
    for ruleset, expected in names.items():
        (diagnosis,) = diagnose(*cell(activation="sigmoid", layers_more={"saturated_fraction": 1.0}), ruleset)
        assert {reason.partition(":")[0] for reason in diagnosis.not_applicable} == expected


def test_all_rulesets_stand_side_by_side(cell) -> None:  # type: ignore[no-untyped-def]
    found = diagnose(*cell(), "all")
    assert [d.ruleset for d in found] == [
        "gradlab",
        "smdebug",
        "autotrainer",
        "deepchecker",
        "torchmortem",
        "neuraldbg",
    ]
