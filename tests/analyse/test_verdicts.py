"""gradlab's own verdicts on tables whose fault is known because the table was built with it."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gradlab.analyse.diagnosis import diagnose
from gradlab.analyse.evidence import learning_words
from gradlab.analyse.learning import Learning, judge_learning
from gradlab.analyse.records_from_tables import split_cells
from gradlab.base.errors import ConfigError, DataError
from gradlab.tables.layers import LAYERS_FULL
from gradlab.tables.steps import STEPS

NUMBERS = [c.name for c in LAYERS_FULL.columns if c.kind != "str" and c.name != "layer"]


def verdicts(tables, **more):  # type: ignore[no-untyped-def]
    (diagnosis,) = diagnose(*tables, **more)
    return diagnosis.verdicts


def hidden(frame: pd.DataFrame) -> pd.Series:
    return frame["name"] != "output"


def test_an_even_profile_that_learns_is_healthy(cell) -> None:  # type: ignore[no-untyped-def]
    (diagnosis,) = diagnose(*cell())
    assert diagnosis.verdicts == ("healthy",) and diagnosis.seeds_text == "3/3" and diagnosis.advice == ""
    assert "changes little" in diagnosis.notes[0] and "it learns" in diagnosis.notes[1]


def test_deep_sigmoid_vanishes_with_the_evidence_in_numbers(cell) -> None:  # type: ignore[no-untyped-def]
    (diagnosis,) = diagnose(*cell(depth=20, decay=0.236, learns=False, activation="sigmoid"))
    assert diagnosis.verdicts == ("vanishing", "not-learning") and diagnosis.seeds_text == "3/3,3/3"
    first = diagnosis.findings[0]
    assert first.at_birth and first.step == 0 and (first.agree, first.seeds) == (3, 3)
    assert first.layer == 16, (
        "0.236^3 is 0.013, 0.236^4 is 0.0031: the fourth layer below the top is past 1/100"
    )
    total = 0.236**19
    for text in (
        "0.236 x a layer",
        f"{total:.2g} from layer 20 to layer 1",
        "in 3 of 3 seeds",
        "theory says 0.236",
    ):
        assert text in first.evidence
    assert diagnosis.advice.startswith("try ")


@pytest.mark.parametrize(
    ("decay", "expected"), [(0.62, "healthy"), (0.58, "vanishing"), (1.62, "healthy"), (1.72, "exploding")]
)
def test_two_decades_over_ten_layers_are_the_weak_boundary(cell, decay, expected) -> None:  # type: ignore[no-untyped-def]
    # nine steps between ten layers: 2 decades are a factor of 10^(2/9) = 1.668 a layer
    found = verdicts(cell(decay=decay, learns=False))
    assert found == (("not-learning",) if expected == "healthy" else (expected, "not-learning"))


def test_a_net_may_attenuate_and_still_learn_and_both_are_said(cell) -> None:  # type: ignore[no-untyped-def]
    (mild,) = diagnose(*cell(decay=0.5))  # 2.7 decades
    assert mild.verdicts == ("healthy",)
    assert any("vanishing at birth, but no fault" in note and "it learns" in note for note in mild.notes)
    (strong,) = diagnose(*cell(decay=0.25))  # 5.4 decades
    assert strong.verdicts == ("vanishing",)
    assert "it learns: validation accuracy" in strong.findings[0].evidence


@pytest.mark.parametrize(("end", "counts"), [(0.4, True), (0.5, False)])
def test_learning_a_little_does_not_excuse_a_weak_fault(cell, end, counts) -> None:  # type: ignore[no-untyped-def]
    def a_little(layers, steps):  # type: ignore[no-untyped-def]
        done = (steps["val_accuracy"] - 0.1) / 0.83
        steps["val_accuracy"] = 0.1 + (end - 0.1) * done
        steps["train_loss"] = 2.3 - 0.8 * done

    tables = cell(decay=1.8, change=a_little)  # 2.3 decades; its last three records average 0.37 or 0.46
    (diagnosis,) = diagnose(*tables)
    assert diagnosis.verdicts == (("exploding",) if counts else ("healthy",))
    assert verdicts(cell(change=a_little)) == ("healthy",)
    if counts:
        assert "it learns: validation accuracy" in diagnosis.findings[0].evidence


def test_without_steps_the_gradient_is_judged_and_learning_is_not(cell) -> None:  # type: ignore[no-untyped-def]
    layers, _ = cell(decay=0.5)
    (diagnosis,) = diagnose(layers)
    assert diagnosis.verdicts == ("vanishing",)
    assert verdicts((cell()[0], None)) == ("undecided",)


def test_one_bad_layer_in_the_middle_is_named(cell) -> None:  # type: ignore[no-untyped-def]
    def cut(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[layers["layer"] <= 10, "delta_rms"] *= 1e-4

    (diagnosis,) = diagnose(*cell(depth=20, learns=False, change=cut))
    finding = diagnosis.findings[0]
    assert finding.verdict == "vanishing" and finding.layer == 10
    assert "0.0001 between hidden_11 and hidden_10" in finding.evidence


def test_a_fault_that_comes_with_training_has_its_first_step(cell) -> None:  # type: ignore[no-untyped-def]
    def later(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[(layers["step"] >= 250) & (layers["layer"] <= 4), "delta_rms"] *= 1e-3

    (diagnosis,) = diagnose(*cell(learns=False, change=later))
    finding = diagnosis.findings[0]
    assert (finding.verdict, finding.at_birth, finding.step, finding.layer) == ("vanishing", False, 250, 4)
    assert finding.place == "from step 250, from layer 4 (hidden_4)"


def test_half_of_the_seeds_make_the_verdict_and_fewer_are_told(cell) -> None:  # type: ignore[no-untyped-def]
    def in_seeds(count: int):  # type: ignore[no-untyped-def]
        def change(layers, steps):  # type: ignore[no-untyped-def]
            mask = layers["seed"] < count
            layers.loc[mask & (layers["layer"] <= 5), "delta_rms"] *= 1e-6

        return change

    (one,) = diagnose(*cell(seeds=4, learns=False, change=in_seeds(1)))
    assert one.verdicts == ("not-learning",) and one.minority[0].verdict == "vanishing"
    (two,) = diagnose(*cell(seeds=4, learns=False, change=in_seeds(2)))
    assert two.verdicts == ("vanishing", "not-learning") and two.seeds_text == "2/4,4/4"
    assert two.findings[0].which == (0, 1)


def test_a_dead_layer_is_death_and_not_underflow(cell) -> None:  # type: ignore[no-untyped-def]
    def kill(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[layers["layer"] == 4, ["dead_fraction", "batch_dead_fraction", "zero_fraction"]] = 1.0
        layers.loc[layers["layer"] <= 4, "delta_rms"] = 0.0

    (diagnosis,) = diagnose(*cell(learns=False, activation="relu", change=kill))
    assert diagnosis.verdicts == ("dead", "not-learning")
    assert diagnosis.findings[0].layer == 4 and "nothing passes below it" in diagnosis.findings[0].evidence


def test_thirty_percent_dead_is_no_fault_and_most_of_a_layer_is_one_when_nothing_is_learned(cell) -> None:  # type: ignore[no-untyped-def]
    relu = {"activation": "relu"}
    assert verdicts(
        cell(layers_more={"dead_fraction": 0.3, "saturated_fraction": 0.6, "zero_fraction": 0.6}, **relu)
    ) == ("healthy",)
    assert verdicts(cell(layers_more={"dead_fraction": 0.8}, **relu)) == ("healthy",)
    assert verdicts(cell(layers_more={"dead_fraction": 0.8}, learns=False, **relu)) == (
        "dead",
        "not-learning",
    )
    assert verdicts(cell(layers_more={"dead_fraction": 0.96}, **relu)) == ("dead",)


def test_one_living_unit_of_three_counts_as_a_dead_layer(cell) -> None:  # type: ignore[no-untyped-def]
    more = {"dead_fraction": 2 / 3, "fan_out": 3}
    assert verdicts(cell(layers_more=more, learns=False, activation="relu"))[0] == "dead"
    assert verdicts(cell(layers_more=more | {"fan_out": 64}, learns=False, activation="relu")) == (
        "not-learning",
    )


def test_zero_slope_by_rounding_of_a_smooth_phi_is_saturation(cell) -> None:  # type: ignore[no-untyped-def]
    def saturate(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[layers["layer"] == 3, ["saturated_fraction", "slope_sq"]] = [1.0, 0.0]
        layers.loc[layers["layer"] <= 3, "delta_rms"] = 0.0

    (diagnosis,) = diagnose(*cell(learns=False, activation="sigmoid", change=saturate))
    assert diagnosis.verdicts == ("saturated", "not-learning") and diagnosis.findings[0].layer == 3


def test_zero_outputs_by_rounding_of_a_smooth_phi_are_saturation_too(cell) -> None:  # type: ignore[no-untyped-def]
    def saturate(layers, steps):  # type: ignore[no-untyped-def]
        flat = layers["layer"] == 3
        layers.loc[flat, ["saturated_fraction", "slope_sq", "zero_fraction"]] = [1.0, 0.0, 1.0]
        layers.loc[layers["layer"] <= 3, "delta_rms"] = 0.0

    tables = cell(learns=False, activation="gelu", change=saturate)
    assert verdicts(tables) == ("saturated", "not-learning")
    unknown = tables[0].drop(columns=["dead_fraction", "batch_dead_fraction"])
    assert verdicts((unknown, tables[1])) == ("dead", "not-learning"), (
        "of an unknown phi zeros are all there is"
    )


def test_half_flat_is_normal_for_a_rectifier_and_not_for_an_s_shape(cell) -> None:  # type: ignore[no-untyped-def]
    more = {"saturated_fraction": 0.6}
    assert verdicts(cell(layers_more=more, learns=False, activation="leaky_relu")) == ("not-learning",)
    assert verdicts(cell(layers_more=more, learns=False, activation="gelu")) == ("not-learning",)
    assert verdicts(cell(layers_more=more, learns=False, activation="tanh")) == ("saturated", "not-learning")
    assert verdicts(cell(layers_more=more, activation="tanh")) == ("healthy",)
    assert verdicts(cell(layers_more={"saturated_fraction": 0.85}, activation="hard_tanh")) == ("saturated",)
    assert verdicts(cell(layers_more={"saturated_fraction": 0.97}, activation="gelu")) == ("saturated",)
    relu = {"saturated_fraction": 0.97, "zero_fraction": 0.97}
    assert verdicts(cell(layers_more=relu, activation="relu")) == ("healthy",), (
        "its zeros are `dead`'s business"
    )


def test_saturation_is_that_of_the_living_units(cell) -> None:  # type: ignore[no-untyped-def]
    def flat(share, dead, learns=True):  # type: ignore[no-untyped-def]
        more = {"saturated_fraction": share, "dead_fraction": dead}
        return verdicts(cell(layers_more=more, learns=learns, activation="hard_tanh"))

    assert flat(0.85, 0.0) == ("saturated",)
    assert flat(0.85, 0.5) == ("healthy",)  # 0.7 of the living half
    assert flat(0.92, 0.5) == ("saturated",)
    assert flat(1.0, 1.0, learns=False) == ("dead", "not-learning")


def test_exact_zero_below_a_tiny_delta_is_underflow_and_implies_vanishing(cell) -> None:  # type: ignore[no-untyped-def]
    def round_off(layers, steps):  # type: ignore[no-untyped-def]
        layers["delta_rms"] = layers["delta_rms"].where(layers["delta_rms"] > 1e-45, 0.0)

    (diagnosis,) = diagnose(
        *cell(depth=80, decay=0.236, learns=False, activation="sigmoid", change=round_off)
    )
    assert diagnosis.verdicts == ("vanishing", "underflow", "not-learning")
    top_zero = 80 - int(np.floor(np.log(1e-44) / np.log(0.236))) - 1
    assert diagnosis.findings[1].layer == pytest.approx(top_zero, abs=1)


def test_a_batch_that_is_fitted_exactly_is_no_fault(cell) -> None:  # type: ignore[no-untyped-def]
    def fit(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[layers["step"] >= 250, "delta_rms"] = 0.0

    assert verdicts(cell(change=fit)) == ("healthy",)


def test_nan_after_growth_at_birth_is_exploding_then_diverged(cell) -> None:  # type: ignore[no-untyped-def]
    def blow(layers, steps):  # type: ignore[no-untyped-def]
        late = layers["step"] >= 4
        layers.loc[late, ["delta_rms", "z_std", "saturated_fraction", "dead_fraction"]] = np.nan
        layers.loc[late, "nonfinite"] = 640
        steps.loc[steps["step"] >= 4, ["train_loss", "val_loss"]] = np.nan

    (diagnosis,) = diagnose(*cell(decay=2.0, learns=False, change=blow))
    assert diagnosis.verdicts == ("exploding", "diverged")
    assert diagnosis.findings[1].step == 4 and not diagnosis.findings[1].at_birth


@pytest.mark.parametrize("decades", [3.0, 40.0])
def test_a_forward_pass_that_overflows_at_birth_is_exploding_and_diverged(cell, decades) -> None:  # type: ignore[no-untyped-def]
    def overflow(layers, steps):  # type: ignore[no-untyped-def]
        layers["z_std"] = np.where(layers["layer"] < 8, 10.0 ** (decades * layers["layer"] / 7), np.inf)
        layers[["delta_rms", "nonfinite"]] = [np.nan, 99]
        steps[["train_loss", "val_loss"]] = np.nan

    (diagnosis,) = diagnose(*cell(learns=False, change=overflow))
    assert diagnosis.verdicts == ("exploding", "diverged")
    assert diagnosis.findings[0].at_birth and diagnosis.findings[1].at_birth


def test_a_fault_at_birth_that_passed_counts_in_a_net_that_does_not_learn(cell) -> None:  # type: ignore[no-untyped-def]
    def at_birth(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[(layers["step"] < 100) & (layers["layer"] <= 5), "delta_rms"] *= 1e-3

    assert verdicts(cell(learns=False, change=at_birth)) == ("vanishing", "not-learning")
    assert verdicts(cell(change=at_birth)) == ("healthy",)


@pytest.mark.parametrize(
    ("decades", "learns", "counts"), [(5.2, False, True), (4.8, False, False), (9, True, False)]
)
def test_an_explosion_that_ended_in_saturation_is_the_first_cause(cell, decades, learns, counts) -> None:  # type: ignore[no-untyped-def]
    def explode_then_saturate(layers, steps):  # type: ignore[no-untyped-def]
        low = layers["layer"] <= 5
        layers.loc[(layers["step"] == 64) & low, "delta_rms"] *= 10.0**decades
        layers.loc[(layers["step"] > 64) & low, "saturated_fraction"] = 0.9

    (diagnosis,) = diagnose(*cell(learns=learns, change=explode_then_saturate))
    assert diagnosis.verdicts[: 2 if counts else 1] == (
        ("exploding", "saturated") if counts else ("saturated",)
    )
    assert ("exploding" in diagnosis.verdicts) == counts
    if counts:
        assert (diagnosis.findings[0].step, diagnosis.findings[0].at_birth) == (64, False)


@pytest.mark.parametrize(("end", "counts"), [(0.2, True), (0.48, True), (0.6, False)])
def test_a_weak_fault_is_not_forgiven_in_a_net_that_lost_most_of_what_it_had_learned(
    cell, end, counts
) -> None:  # type: ignore[no-untyped-def]
    def explode_and_fall(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[(layers["step"] >= 250) & (layers["layer"] <= 5), "delta_rms"] *= 10.0**3
        steps.loc[steps["step"] == 128, "val_accuracy"] = 0.9
        steps.loc[steps["step"] >= 250, "val_accuracy"] = end

    expected = ("exploding", "unstable") if counts else ("healthy",)
    assert verdicts(cell(change=explode_and_fall)) == expected


@pytest.mark.parametrize(
    ("losses", "learns", "expected"),
    [
        ([2.3, 24.0, 2.4], False, "diverged"),  # a spike of more than ten times, and nothing learned
        ([2.3, 2.4, 90.0], True, "diverged"),  # ends far above its start, whatever the accuracy
        ([2.3, 400.0, 0.1], True, "healthy"),  # a spike that healed
        ([2.3, 22.0, 2.4], False, "not-learning"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_loss_that_blows_up_is_divergence(cell, losses, learns, expected, whole) -> None:  # type: ignore[no-untyped-def]
    """whole: the loss of the validation split does as the batches' does; else small batches scatter around it."""

    def shape(layers, steps):  # type: ignore[no-untyped-def]
        step = steps["step"]
        steps["train_loss"] = np.where(step == 0, losses[0], np.where(step < 500, losses[1], losses[2]))
        steps.loc[(step == 250), "train_loss"] = losses[2]
        steps["val_loss"] = steps["train_loss"] if whole else 2.3

    found = verdicts(cell(learns=learns, change=shape))
    assert found == (
        (expected,) if whole or expected != "diverged" else ("healthy" if learns else "not-learning",)
    )


@pytest.mark.parametrize(
    ("rows", "last", "expected"),
    [
        (None, 5.0, "diverged"),
        (512, 5.0, "healthy"),  # twice the loss, of other rows
        (512, 10.0, "diverged"),
        (12_000, 5.0, "diverged"),  # of the same rows
    ],
)
def test_other_validation_rows_at_the_last_record_are_no_divergence(cell, rows, last, expected) -> None:  # type: ignore[no-untyped-def]
    """Batches that scatter around 2.3, and a loss of the whole split that is above its part's from the start."""

    def shape(layers, steps):  # type: ignore[no-untyped-def]
        final = steps["step"] == steps["step"].max()
        steps["train_loss"] = np.where(steps["step"] < 200, 2.3, 7.0)
        steps["val_loss"] = np.where(final, last, 2.3)
        if rows is not None:
            steps["eval_rows"] = np.where(final, 12_000, rows)

    assert verdicts(cell(change=shape)) == (expected,)


@pytest.mark.parametrize(("start", "end"), [(-5.0, -5.6), (0.0, 0.0), (-0.1, -3.0)])
def test_of_a_loss_below_0_nothing_is_a_multiple(cell, start, end) -> None:  # type: ignore[no-untyped-def]
    """A likelihood's, or one that is 0 from the start."""

    def change(layers, steps):  # type: ignore[no-untyped-def]
        steps["train_loss"] = start + (end - start) * steps["step"] / 1000
        steps["val_loss"] = steps["train_loss"]

    assert verdicts(cell(change=change)) == ("healthy",)
    assert verdicts(cell(learns=False, change=change)) == ("not-learning",)


def test_a_branch_that_is_closed_at_birth_is_no_way_of_the_gradient(cell) -> None:  # type: ignore[no-untyped-def]
    """ReZero: no delta comes into it at birth, and after a step delta is as small as the learned factor."""

    def closed(layers, steps):  # type: ignore[no-untyped-def]
        branch = hidden(layers) & (layers["layer"] > 1)
        layers.loc[branch, "delta_rms"] = np.where(layers["step"] == 0, 0.0, 1e-7 * layers["step"])[branch]
        layers["residual"] = "rezero"

    assert verdicts(cell(learns=False, change=closed)) == ("not-learning",)
    (diagnosis,) = diagnose(*cell(change=closed))
    assert diagnosis.verdicts == ("healthy",)
    assert "delta is exactly 0 in 9 of 10 hidden layers at birth" in diagnosis.notes[0]

    def unforeseen(layers, steps):  # type: ignore[no-untyped-def]
        closed(layers, steps)
        layers["residual"] = "none"

    assert "exploding" in verdicts(cell(learns=False, change=unforeseen))


def test_what_no_record_can_hold_is_named(cell) -> None:  # type: ignore[no-untyped-def]
    for column, value, says in [
        ("delta_rms", -1.0, "-1 is out of range"),
        ("dead_fraction", 7.0, ">= 0 and <= 1"),
        ("layer", -3, "-3 is out of range"),
        ("cell", "", "a row has no value"),
    ]:
        layers, steps = cell()
        layers.loc[5, column] = value
        with pytest.raises(DataError, match=column) as caught:
            diagnose(layers, steps)
        assert says in str(caught.value)
    with pytest.raises(DataError, match="it is a str"):
        diagnose("results")  # type: ignore[arg-type]


def test_what_a_blow_up_leaves_behind_is_no_cause_of_it(cell) -> None:  # type: ignore[no-untyped-def]
    def blow(layers, steps):  # type: ignore[no-untyped-def]
        late = (layers["step"] >= 64) & hidden(layers)
        layers.loc[late, ["dead_fraction", "saturated_fraction"]] = [1.0, 1.0]
        layers.loc[late, "delta_rms"] = 0.0
        steps.loc[steps["step"] >= 64, ["train_loss", "val_loss"]] = 500.0

    assert verdicts(cell(learns=False, activation="relu", change=blow)) == ("diverged",)


def test_not_learning_alone(cell) -> None:  # type: ignore[no-untyped-def]
    (diagnosis,) = diagnose(*cell(learns=False))
    assert diagnosis.verdicts == ("not-learning",)
    assert "validation accuracy 0.100 to 0.100" in diagnosis.findings[0].evidence


def test_few_updates_prove_nothing_about_learning(cell) -> None:  # type: ignore[no-untyped-def]
    (diagnosis,) = diagnose(*cell(learns=False, steps=(0, 10, 50)))
    assert diagnosis.verdicts == ("undecided",) and not diagnosis.healthy
    assert "too few updates" in diagnosis.undecided
    assert verdicts(cell(learns=False, steps=(0, 10, 99))) == ("undecided",)
    assert verdicts(cell(learns=False, steps=(0, 10, 100))) == ("not-learning",)


def test_learning_the_class_frequencies_is_not_learning_when_the_chance_level_is_known(cell) -> None:  # type: ignore[no-untyped-def]
    def majority(layers, steps):  # type: ignore[no-untyped-def]
        steps.loc[steps["step"] > 8, ["train_accuracy", "val_accuracy"]] = 0.6
        steps.loc[steps["step"] > 8, ["train_loss", "val_loss"]] = 1.6

    tables = cell(learns=False, change=majority)
    assert verdicts(tables, chance=0.6) == ("not-learning",)
    (diagnosis,) = diagnose(*tables, chance={"c0ffee": 0.6})
    assert "validation accuracy 0.600, where guessing gives 0.600" in diagnosis.findings[0].evidence
    assert verdicts(tables) == ("healthy",), "the tables alone cannot tell 0.1 to 0.6 from learning"


def test_a_net_that_fits_noise_learns(cell) -> None:  # type: ignore[no-untyped-def]
    def memorise(layers, steps):  # type: ignore[no-untyped-def]
        steps["val_accuracy"] = 0.1

    assert verdicts(cell(change=memorise)) == ("healthy",)


def test_without_accuracies_the_loss_speaks_against_its_own_scatter(cell) -> None:  # type: ignore[no-untyped-def]
    def drop(noise: float):  # type: ignore[no-untyped-def]
        def change(layers, steps):  # type: ignore[no-untyped-def]
            steps[["val_accuracy", "train_accuracy", "val_loss"]] = np.nan
            wobble = np.where(np.arange(len(steps)) % 2 == 0, noise, -noise)
            steps["train_loss"] = steps["train_loss"] + wobble

        return change

    assert verdicts(cell(change=drop(0.0))) == ("healthy",)
    assert verdicts(cell(learns=False, change=drop(0.2))) == ("not-learning",)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", NUMBERS)
def test_no_column_of_layers_breaks_the_rule_when_it_is_not_finite(cell, column, value) -> None:  # type: ignore[no-untyped-def]
    layers, steps = cell(steps=(0, 10, 200), seeds=2)
    layers[column] = layers.get(column, 0.0) * 1.0
    layers.loc[layers["layer"] == 3, column] = value
    for ruleset in ("gradlab", "all"):
        for diagnosis in diagnose(layers, steps, ruleset):
            assert len(diagnosis.verdicts) == len(diagnosis.seeds_text.split(","))
            json.dumps(diagnosis.as_dict(), allow_nan=False)
    if column == "delta_rms":
        assert verdicts((layers, steps)) == (("healthy",) if np.isnan(value) else ("diverged",))


@pytest.mark.parametrize(("step", "count"), [(10, 5), (0, 5)])
def test_a_delta_that_is_no_number_any_more_is_a_divergence(cell, step, count) -> None:  # type: ignore[no-untyped-def]
    layers, steps = cell(steps=(0, 10, 200), seeds=2)
    layers.loc[(layers["layer"] == 3) & (layers["step"] >= step), ["delta_rms", "nonfinite"]] = [
        np.nan,
        count,
    ]
    (diagnosis,) = diagnose(layers, steps)
    assert diagnosis.verdicts == ("diverged",) and diagnosis.findings[0].step == step


@pytest.mark.parametrize("layer", [1, 3, 10])
def test_a_delta_that_a_record_does_not_have_is_no_divergence(cell, layer) -> None:  # type: ignore[no-untyped-def]
    """A layer that is frozen midway, or an expert that gets no token, has no delta, and nothing in it is not finite."""
    layers, steps = cell(steps=(0, 10, 200), seeds=2)
    layers.loc[(layers["layer"] == layer) & (layers["step"] >= 10), "delta_rms"] = np.nan
    assert verdicts((layers, steps)) == ("healthy",)


def test_a_layer_that_never_has_a_delta_is_left_out(cell) -> None:  # type: ignore[no-untyped-def]
    """A module whose parameters are used without a call of its own has gradients alone."""
    layers, steps = cell(decay=0.3, learns=False)
    for layer in (5, 10):
        silent = layers.copy()
        silent.loc[silent["layer"] == layer, "delta_rms"] = np.nan
        (diagnosis,) = diagnose(silent, steps)
        assert diagnosis.verdicts == ("vanishing", "not-learning")
        assert f"from layer {19 - layer if layer > 9 else 10} to layer 1" in diagnosis.findings[0].evidence
    lone = silent[["seed", "step", "layer", "name", "delta_rms"]]
    assert verdicts((lone, None)) == ("diverged",), (
        "without a count of what is not finite a nan is taken at its word"
    )


def test_rows_that_are_missing_are_no_values_that_are_not_numbers(cell) -> None:  # type: ignore[no-untyped-def]
    layers, steps = cell(decay=0.3, learns=False)
    gone = (layers["layer"] == 3) & ((layers["seed"] == 1) | (layers["step"] == 1000))
    assert verdicts((layers[~gone], steps)) == ("vanishing", "not-learning")


def test_a_table_of_which_nothing_was_measured_is_an_error_and_not_healthy(cell) -> None:  # type: ignore[no-untyped-def]
    layers, steps = cell(steps=(0, 200), layers_more={"dead_fraction": 1.0})
    layers["delta_rms"] = np.nan
    kept = ["cell", "seed", "step", "layer", "name", "fan_in", "batch", "nonfinite", "delta_rms"]
    for columns in (kept, kept[1:5] + kept[-1:]):
        with pytest.raises(DataError, match="no row of a hidden layer has a value"):
            diagnose(layers[columns], steps)
    (diagnosis,) = diagnose(layers, steps)
    assert diagnosis.verdicts == ("dead",) and "no delta is recorded" in diagnosis.notes[0]


def test_parameter_gradients_alone_are_no_evidence_of_health(cell) -> None:  # type: ignore[no-untyped-def]
    layers, _ = cell(steps=(0, 200))
    own = layers[["seed", "step", "layer", "name", "weight_grad_norm"]].assign(
        delta_rms=np.nan, nonfinite=np.nan
    )
    (diagnosis,) = diagnose(own)
    assert any("no delta is recorded" in note for note in diagnosis.notes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.5])
@pytest.mark.parametrize("column", ["seed", "step", "layer"])
def test_what_numbers_a_row_is_a_whole_number(cell, column, value) -> None:  # type: ignore[no-untyped-def]
    for which in (0, 1):
        tables = cell(steps=(0, 200))
        if column in tables[which]:
            tables[which][column] = tables[which][column].astype(float)
            tables[which].loc[1, column] = value
            with pytest.raises(DataError, match=f"{('layers', 'steps')[which]}: {column}"):
                diagnose(*tables)


def test_any_column_may_be_missing_but_what_is_judged(cell) -> None:  # type: ignore[no-untyped-def]
    layers, steps = cell(steps=(0, 10, 200), seeds=2, learns=False, decay=0.3)
    for column in layers.columns.difference(["seed", "step", "layer", "delta_rms"]):
        (own, *published) = diagnose(layers.drop(columns=column), steps, "all")
        assert own.verdicts == ("vanishing", "not-learning") and all(other.verdicts for other in published)
    for column in steps.columns.difference(["seed", "step"]):
        (own, *published) = diagnose(layers, steps.drop(columns=column), "all")
        assert own.verdicts == ("vanishing", "not-learning") and all(other.verdicts for other in published)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [n for n in STEPS.every if n not in ("seed", "step")])
def test_no_column_of_steps_breaks_the_rule_when_it_is_not_finite(cell, column, value) -> None:  # type: ignore[no-untyped-def]
    layers, steps = cell(steps=(0, 10, 200), seeds=2)
    steps[column] = steps[column].astype(float)
    steps.loc[steps["step"] == 200, column] = value
    for diagnosis in diagnose(layers, steps, "all"):
        assert len(diagnosis.verdicts) == len(diagnosis.seeds_text.split(","))
        json.dumps(diagnosis.as_dict(), allow_nan=False)
    if column == "train_loss":
        assert verdicts((layers, steps)) == ("diverged",)


def test_one_record_one_layer_one_seed(cell) -> None:  # type: ignore[no-untyped-def]
    assert verdicts(cell(steps=(0,))) == ("undecided",)
    assert verdicts(cell(steps=(0,), decay=0.5)) == ("vanishing",)
    assert verdicts(cell(depth=1)) == ("healthy",)
    assert verdicts(cell(depth=1, learns=False)) == ("not-learning",)
    (single,) = diagnose(*cell(seeds=1, depth=1, steps=(0,)))
    assert any("single seed" in note for note in single.notes)
    assert len(diagnose(*cell(seeds=1, depth=1, steps=(0,)), "all")) == 6


def test_an_empty_table_is_an_error_and_not_healthy(cell) -> None:  # type: ignore[no-untyped-def]
    layers, steps = cell()
    for tables in ((layers[:0], steps), (layers, steps[:0])):
        with pytest.raises(DataError, match="no rows"):
            diagnose(*tables)


def test_every_problem_of_a_table_is_told_at_once(cell) -> None:  # type: ignore[no-untyped-def]
    layers, steps = cell()
    layers["delta_rms"] = layers["delta_rms"].astype(object)
    layers.loc[3, "delta_rms"] = "large"
    with pytest.raises(DataError) as caught:
        diagnose(layers.drop(columns="layer"), steps)
    text = str(caught.value)
    assert "no column 'layer'" in text and "delta_rms" in text and "'large'" in text


def test_repeated_rows_and_a_lone_readout_are_errors(cell) -> None:  # type: ignore[no-untyped-def]
    layers, steps = cell(steps=(0, 200))
    with pytest.raises(DataError, match="several rows"):
        diagnose(pd.concat([layers, layers]), steps)
    with pytest.raises(DataError, match="several rows"):
        diagnose(layers, pd.concat([steps, steps]))
    with pytest.raises(DataError, match="no hidden layer"):
        diagnose(layers[~hidden(layers)], steps)


def test_cells_are_told_apart_and_keep_their_order(cell) -> None:  # type: ignore[no-untyped-def]
    good, bad = cell(cell="b"), cell(cell="a", decay=0.2, learns=False)
    layers, steps = pd.concat([good[0], bad[0]]), pd.concat([good[1], bad[1]])
    found = diagnose(layers, steps)
    assert [d.cell["cell"] for d in found] == ["b", "a"]
    assert [d.verdicts for d in found] == [("healthy",), ("vanishing", "not-learning")]
    with pytest.raises(DataError, match="no column cell"):
        diagnose(layers, steps.drop(columns="cell"))


def test_a_users_table_without_cell_columns_is_one_cell(cell) -> None:  # type: ignore[no-untyped-def]
    layers, _ = cell(decay=0.3)
    own = layers[["seed", "step", "layer", "name", "delta_rms"]]
    (diagnosis,) = diagnose(own)
    assert diagnosis.verdicts == ("vanishing",) and dict(diagnosis.cell) == {}


def test_an_unknown_ruleset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'smdebug'"):
        diagnose(pd.DataFrame(), ruleset="smdebg")


@pytest.mark.parametrize(
    ("ends", "says", "value"),
    [
        ((0.2, 0.4, 0.9), "median seed", "0.4"),
        ((0.2, 0.4, 0.6, 0.9), "lower of the two middle seeds", "0.4"),
    ],
)
def test_an_even_count_has_no_median_seed(ends: tuple[float, ...], says: str, value: str) -> None:
    learning = {
        seed: Learning(True, 0.1, end, "validation accuracy", end, 100) for seed, end in enumerate(ends)
    }
    text = learning_words(SimpleNamespace(learning=learning), range(len(ends)))  # type: ignore[arg-type]
    assert f"({says}; all 0.200 to 0.900" in text and value in text.partition("(")[0]


def test_a_training_ends_at_the_mean_of_its_last_three_accuracies(cell) -> None:  # type: ignore[no-untyped-def]
    last = [0.2, 0.5, 0.7, 0.9]

    def change(layers, steps):  # type: ignore[no-untyped-def]
        for _, own in steps.groupby("seed"):
            steps.loc[own.index[-4:], "val_accuracy"] = last

    (records,) = split_cells(*cell(change=change))
    found = judge_learning(records, 0)
    assert found.measure == "validation accuracy" and found.end == pytest.approx(0.7)
