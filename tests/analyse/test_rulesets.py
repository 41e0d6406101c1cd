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


def test_what_a_record_cannot_express_is_not_applicable_and_never_guessed(cell) -> None:  # type: ignore[no-untyped-def]
    names = {
        "smdebug": {"SaturatedActivation", "DeadRelu"},
        "autotrainer": {"Oscillating loss"},
        "deepchecker": {"Saturated activations", "Learning too fast or slow", "Dead activations"},
    }
    for ruleset, expected in names.items():
        (diagnosis,) = diagnose(*cell(activation="sigmoid", layers_more={"saturated_fraction": 1.0}), ruleset)
        assert {reason.partition(":")[0] for reason in diagnosis.not_applicable} == expected


def test_all_rulesets_stand_side_by_side(cell) -> None:  # type: ignore[no-untyped-def]
    found = diagnose(*cell(), "all")
    assert [d.ruleset for d in found] == ["gradlab", "smdebug", "autotrainer", "deepchecker"]
