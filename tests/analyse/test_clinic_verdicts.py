"""The verdicts on a model of one's own, each on both sides of its boundary, and the principles they rest on."""

import re

import numpy as np
import pandas as pd
import pytest

from gradlab.analyse.diagnosis import diagnose

NAN, INF = float("nan"), float("inf")
FAILS = {"end": 1.0}  # ends where the best constant output is


def judged(tables):  # type: ignore[no-untyped-def]
    (diagnosis,) = diagnose(*tables, cell_columns=())
    return diagnosis


def verdicts(tables):  # type: ignore[no-untyped-def]
    return judged(tables).verdicts


def finding(tables, verdict):  # type: ignore[no-untyped-def]
    return next(each for each in judged(tables).findings if each.verdict == verdict)


def holds(own, verdict, facts=None, change=None, **more):  # type: ignore[no-untyped-def]
    """Whether the verdict is among those on `own`'s tables."""
    return verdict in verdicts(own(facts=facts, change=change, **more))


def at(layers: pd.DataFrame, *numbers: int) -> pd.Series:
    return layers["layer"].isin(numbers)


READOUT = 5  # of `own`'s four hidden layers


# -- bad-targets ---------------------------------------------------------------------------------------------


CLASSES = {"target_kind": "classes", "target_shape": "64", "criterion": "cross_entropy", "output_units": 3}
ONE_COLUMN = {"output_shape": "64 x 1", "target_shape": "64 x 1", "output_units": 1, "target_kind": "binary"}


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize(
    ("facts", "bad"),
    [
        ({"target_nonfinite": 1}, True),
        ({"target_nonfinite": 0}, False),
        ({"target_distinct": 1, "target_shape": "16 x 3", "output_shape": "16 x 3"}, True),
        ({"target_distinct": 1, "target_shape": "15 x 3", "output_shape": "15 x 3"}, False),
        ({"target_distinct": 2, "target_shape": "16 x 3", "output_shape": "16 x 3"}, False),
        (ONE_COLUMN | {"target_min": 0, "target_max": 1, "target_distinct": 2, "criterion": "soft_margin_loss"}, True),
        (ONE_COLUMN | {"target_min": -1, "target_max": 1, "target_distinct": 2, "criterion": "soft_margin_loss"}, 0),
        (ONE_COLUMN | {"target_min": 0, "target_max": 1, "target_distinct": 3, "criterion": "soft_margin_loss"}, False),
        (CLASSES | {"target_min": 0, "target_max": 3}, True),
        (CLASSES | {"target_min": 0, "target_max": 2}, False),
        (CLASSES | {"target_min": 0, "target_max": 3, "criterion": "nll_loss"}, True),
        (ONE_COLUMN | {"target_min": -1, "target_max": 1, "criterion": "binary_cross_entropy"}, True),
        (ONE_COLUMN | {"target_min": 0, "target_max": 1, "criterion": "binary_cross_entropy"}, False),
        (ONE_COLUMN | {"target_min": 0, "target_max": 2, "criterion": "binary_cross_entropy_with_logits"}, True),
        (ONE_COLUMN | {"target_min": 0.1, "target_max": 0.9, "criterion": "binary_cross_entropy"}, False),
        (ONE_COLUMN | {"target_min": -1, "target_max": 1, "criterion": "soft_margin_loss"}, False),
    ],
)  # fmt: skip
def test_targets_that_a_criterion_does_not_take(own, facts, bad, learns) -> None:  # type: ignore[no-untyped-def]
    tables = own(facts=facts, end=0.1 if learns else 1.0)
    assert ("bad-targets" in verdicts(tables)) == bad
    if bad:
        assert judged(tables).findings[0].verdict == "bad-targets" and judged(tables).cures


# -- output-mismatch -----------------------------------------------------------------------------------------


IN_0_1 = {"target_min": 0.0, "target_max": 1.0, "target_kind": "labels"}


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [
        ({"output_activation": "softmax", "output_units": 1} | IN_0_1, True),
        ({"output_activation": "softmax", "output_units": 2} | IN_0_1 | {"target_kind": "one-hot"}, False),
        ({"output_activation": "softmax"} | IN_0_1, True),
        (CLASSES | {"output_units": 1, "target_max": 0, "target_min": 0}, True),
        (CLASSES | {"output_units": 2, "target_max": 1, "target_min": 0}, False),
        (CLASSES | {"output_activation": "softmax", "target_max": 2}, True),
        (CLASSES | {"output_activation": "sigmoid", "target_max": 2}, True),
        (CLASSES | {"output_activation": "tanh", "target_max": 2}, True),
        (CLASSES | {"output_activation": "", "target_max": 2}, False),
        (CLASSES | {"criterion": "nll_loss", "target_max": 2, "output_max": 0.5}, True),
        (CLASSES | {"criterion": "nll_loss", "target_max": 2, "output_max": 0.5, "output_activation": "softmax"}, True),
        (CLASSES | {"criterion": "nll_loss", "target_max": 2, "output_max": 5e-4}, False),
        (CLASSES | {"criterion": "nll_loss", "target_max": 2, "output_max": 0.5, "output_activation": "log_softmax"},
         False),
        (IN_0_1 | {"criterion": "kl_div", "output_max": 0.9, "output_activation": "softmax"}, True),
        (IN_0_1 | {"criterion": "kl_div", "output_max": -0.1, "output_activation": ""}, False),
        (IN_0_1 | {"criterion": "kl_div", "output_max": 5e-4, "output_activation": "log_softmax"}, False),
        (ONE_COLUMN | IN_0_1 | {"criterion": "binary_cross_entropy_with_logits", "output_activation": "sigmoid"}, True),
        (ONE_COLUMN | IN_0_1 | {"criterion": "binary_cross_entropy", "output_activation": "sigmoid"}, False),
        (ONE_COLUMN | IN_0_1 | {"criterion": "binary_cross_entropy_with_logits"}, False),
        ({"output_shape": "64 x 1", "target_shape": "64"}, True),
        ({"output_shape": "64", "target_shape": "64 x 1"}, True),
        ({"output_shape": "64 x 1", "target_shape": "64 x 1"}, False),
        ({"output_shape": "64 x 1", "target_shape": "64"} | CLASSES | {"output_units": 3, "target_max": 2}, False),
        ({"output_activation": "relu", "target_min": -0.21, "target_max": 1.79}, True),
        ({"output_activation": "relu", "target_min": -0.19, "target_max": 1.81}, False),
        ({"output_activation": "sigmoid", "target_min": 0.1, "target_max": 1.3}, True),
        ({"output_activation": "sigmoid", "target_min": 0.1, "target_max": 1.09}, False),
        ({"output_activation": "tanh", "target_min": -1.3, "target_max": 1.0}, True),
        ({"output_activation": "tanh", "target_min": -1.19, "target_max": 1.0}, False),
        ({"output_activation": "relu", "criterion": "my_loss", "target_kind": "numbers", "target_min": -2}, True),
    ],
)  # fmt: skip
def test_what_makes_the_outputs_fits_the_criterion_and_the_targets(own, facts, wrong) -> None:  # type: ignore[no-untyped-def]
    """Known by the definitions alone, so that it is said whether the net gets somewhere or not."""
    for end in (0.1, 1.0):
        tables = own(facts=facts, end=end)
        assert ("output-mismatch" in verdicts(tables)) == wrong
        if wrong:
            assert finding(tables, "output-mismatch").at_birth and judged(tables).cures


@pytest.mark.parametrize(
    "criterion", ["cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits"]
)
def test_a_rectified_logit_is_none_even_where_the_net_learns(own, criterion) -> None:  # type: ignore[no-untyped-def]
    facts = {"output_activation": "relu", "criterion": criterion, "target_kind": "labels"}
    facts |= {"target_min": 0.0, "target_max": 1.0}
    assert holds(own, "output-mismatch", facts, **FAILS)
    assert verdicts(own(facts=facts)) == ("output-mismatch",)


@pytest.mark.parametrize(
    ("facts", "wrong", "told"),
    [
        ({"output_activation": "softmax, log_softmax"}, True, "shares of shares"),
        ({"output_activation": "sigmoid, log_softmax"}, True, "shares of shares"),
        ({"output_activation": "log_softmax over samples"}, True, "dim=0"),
        ({"output_activation": "log_softmax over samples", "output_shape": "64 x 64"}, False, ""),  # as contrasts are
        ({"probe_loss": [-2.3] * 10, "criterion": "cross_entropy"}, True, "sign is wrong"),
        ({"probe_loss": [0.0] * 10, "criterion": "cross_entropy"}, False, ""),
        ({"probe_loss": [-2.3] * 10, "criterion": "gaussian_nll_loss"}, False, ""),  # a density's may be below 0
        ({"probe_loss": [2.3] + [-1.0] * 9, "criterion": "cross_entropy"}, False, ""),  # with a reward of its own
    ],
)  # fmt: skip
def test_what_the_last_function_runs_along_and_on_what_and_which_sign_the_loss_has(
    own, facts, wrong, told
) -> None:  # type: ignore[no-untyped-def]
    facts = CLASSES | {"target_min": 0, "target_max": 2, "criterion": "nll_loss", "output_max": -0.1} | facts
    tables = own(facts=facts)
    assert ("output-mismatch" in verdicts(tables)) == wrong
    assert not wrong or (told in finding(tables, "output-mismatch").evidence and judged(tables).cures)


# -- mixed-samples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mixing", "noise", "mixed"),
    [(0.01, 0.0, True), (0.0099, 0.0, False), (1.0, 0.1, True), (1.0, 0.11, False)],
)
def test_outputs_that_depend_on_other_samples(own, mixing, noise, mixed) -> None:  # type: ignore[no-untyped-def]
    facts = {"sample_mixing": mixing, "output_noise": noise}
    assert holds(own, "mixed-samples", facts, **FAILS) == mixed
    assert verdicts(own(facts=facts)) == ("healthy",), "a graph's nodes do so on purpose"


# -- input-scale ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "odd"),
    [
        ({"input_rms": 10.0, "input_spread": 10.0}, True),
        ({"input_rms": 9.9, "input_spread": 9.9}, False),
        ({"input_rms": 0.01, "input_spread": 0.01}, True),
        ({"input_rms": 0.011, "input_spread": 0.011}, False),
        ({"input_rms": 26**0.5 * 1.001, "input_spread": 1.0}, True),  # a mean of 5 beside a deviation of 1
        ({"input_rms": 26**0.5 * 0.999, "input_spread": 1.0}, False),
        ({"input_ratio": 100.0}, True),
        ({"input_ratio": 99.0}, False),
    ],
)
def test_inputs_are_judged_by_their_effect(own, facts, odd) -> None:  # type: ignore[no-untyped-def]
    def saturate(share):  # type: ignore[no-untyped-def]
        def change(layers, steps):  # type: ignore[no-untyped-def]
            layers.loc[at(layers, 1) & (layers["step"] == 0), "saturated_fraction"] = share

        return change

    def die(share):  # type: ignore[no-untyped-def]
        def change(layers, steps):  # type: ignore[no-untyped-def]
            born = at(layers, 1) & (layers["step"] == 0)
            layers.loc[born, ["dead_fraction", "batch_dead_fraction"]] = share

        return change

    assert not holds(own, "input-scale", facts), "a net that learns from such inputs without harm is not ill"
    assert holds(own, "input-scale", facts, **FAILS) == odd
    assert holds(own, "input-scale", facts, saturate(0.5)) == odd
    assert not holds(own, "input-scale", facts, saturate(0.49))
    assert not holds(own, "input-scale", facts, saturate(0.5), activation="relu"), "half is flat by design"
    assert holds(own, "input-scale", facts, die(0.75), activation="relu") == odd
    assert not holds(own, "input-scale", facts, die(0.74), activation="relu")


@pytest.mark.parametrize(
    ("facts", "ill"),
    [
        ({"input_nonfinite": 1}, True),
        ({"input_nonfinite": 0}, False),
        ({"input_constant": 1.0}, True),
        ({"input_constant": 0.999}, False),
    ],
)
def test_inputs_that_say_nothing_are_ill_whatever_the_net_does(own, facts, ill) -> None:  # type: ignore[no-untyped-def]
    assert holds(own, "input-scale", facts) == holds(own, "input-scale", facts, **FAILS) == ill


# -- target-scale --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "far"),
    [
        ({"target_rms": 10.0, "output_rms": 1.0}, True),
        ({"target_rms": 9.9, "output_rms": 0.5}, False),
        ({"target_rms": 10.0, "output_rms": 1.01}, False),
        ({"target_spread": 0.01, "output_rms": 0.1}, True),
        ({"target_spread": 0.011, "output_rms": 0.9}, False),
        ({"target_spread": 0.01, "output_rms": 0.099}, False),
        ({"target_rms": 100.0, "target_kind": "classes", "criterion": "cross_entropy"}, False),
        (
            {"target_rms": 100.0, "target_kind": "classes"},
            True,
        ),  # whole numbers in a mean squared error are numbers
    ],
)
def test_targets_out_of_the_outputs_reach(own, facts, far) -> None:  # type: ignore[no-untyped-def]
    facts = {"target_min": -1.0, "target_max": 1.0, **facts}
    assert holds(own, "target-scale", facts, **FAILS) == far
    assert not holds(own, "target-scale", facts), "the net reached them"


# -- no-gradient ---------------------------------------------------------------------------------------------


def trains(word, *numbers, steps=None):  # type: ignore[no-untyped-def]
    def change(layers, _):  # type: ignore[no-untyped-def]
        here = at(layers, *numbers) & (True if steps is None else layers["step"].isin(steps))
        layers.loc[here, "trains"] = word
        if word in ("no gradient", "frozen"):
            layers.loc[here, "weight_grad_norm"] = NAN
        if word == "no gradient":
            layers.loc[here, "delta_rms"] = NAN

    return change


@pytest.mark.parametrize("numbers", [(1,), (1, 2), (3,), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("word", ["no gradient", "not in the optimizer", "not registered"])
def test_parameters_that_nothing_reaches_are_named(own, word, numbers) -> None:  # type: ignore[no-untyped-def]
    tables = own(change=trains(word, *numbers), end=1.0)
    if numbers == (1, 2, 3, 4, 5) and word == "no gradient":
        tables[0].loc[:, "delta_rms"] = 0.1  # a table without any delta cannot be judged at all
    found = finding(tables, "no-gradient")
    assert found.at_birth and found.step == 0
    if word != "no gradient" or len(numbers) < READOUT:
        assert f"{len(numbers)} of {READOUT} modules" in found.evidence
        assert all(str(2 * (number - 1)) in found.evidence for number in numbers[:4])
    assert ("backward was not called" in found.evidence) == (
        word == "no gradient" and len(numbers) == READOUT
    )
    cures = judged(tables).cures
    assert ("detach" in cures[0].reason) == (word == "no gradient" and len(numbers) < READOUT)
    assert ("in this order" in cures[0].reason) == (word == "no gradient" and len(numbers) == READOUT)


@pytest.mark.parametrize("word", ["not in the optimizer", "not registered"])
def test_weights_that_change_are_in_some_optimizer(own, word) -> None:  # type: ignore[no-untyped-def]
    """The recorder was given one optimizer of two."""

    def change(layers, steps):  # type: ignore[no-untyped-def]
        trains(word, 2)(layers, steps)
        layers.loc[at(layers, 2), "weight_norm"] = 4 + 1e-6 * layers.loc[at(layers, 2), "step"]

    assert verdicts(own(change=change)) == ("healthy",)


@pytest.mark.parametrize(("share", "harms"), [(0.1, True), (0.099, False)])
def test_wrong_samples_that_the_criterion_does_not_pull(own, share, harms) -> None:  # type: ignore[no-untyped-def]
    """Of one that learns it is no fault: other samples move what they share with them."""
    facts = {"unpulled_fraction": share}
    assert holds(own, "no-gradient", facts, **FAILS) == harms
    assert verdicts(own(facts=facts)) == ("healthy",)
    if harms:
        assert (
            "10% of the probe's samples are wrong"
            in finding(own(facts=facts, **FAILS), "no-gradient").evidence
        )


def called(*reached):  # type: ignore[no-untyped-def]
    """The four hidden rows are the calls of one cell, and a gradient comes to these of them."""

    def change(layers, _):  # type: ignore[no-untyped-def]
        for number in range(1, READOUT):
            here = at(layers, number)
            layers.loc[here, "name"] = "cell" + f"#{number}" * (number > 1)
            if number > 1:
                layers.loc[here, ["weight_grad_norm", "weight_norm", "update_ratio"]] = NAN
                layers.loc[here, "trains"] = ""
            if number not in reached:
                layers.loc[here, "delta_rms"] = NAN

    return change


@pytest.mark.parametrize(
    ("reached", "cut"), [((4,), True), ((3, 4), True), ((1, 2, 3, 4), False), ((1,), False), ((1, 4), False)]
)
def test_a_state_that_is_cut_off_between_the_calls_of_a_cell(own, reached, cut) -> None:  # type: ignore[no-untyped-def]
    tables = own(change=called(*reached), **FAILS)
    assert ("no-gradient" in verdicts(tables)) == cut
    if cut:
        first = f"no gradient comes to the first {4 - len(reached)}"
        assert first in finding(tables, "no-gradient").evidence
    assert "no-gradient" not in verdicts(own(change=called(*reached))), "a fixed point's last step learns"


@pytest.mark.parametrize(("word", "harms"), [("frozen as drawn", True), ("frozen", False)])
def test_frozen_weights_that_nobody_has_trained(own, word, harms) -> None:  # type: ignore[no-untyped-def]
    def change(layers, _):  # type: ignore[no-untyped-def]
        layers.loc[at(layers, 1, 2), "trains"] = word
        layers.loc[at(layers, 1, 2), "weight_grad_norm"] = NAN

    assert holds(own, "no-gradient", change=change, **FAILS) == harms
    assert holds(own, "no-gradient", change=change, end=0.7) == harms, "it learns little"
    assert verdicts(own(change=change, end=0.6)) == ("healthy",), "random features are enough for it"


# -- underflow in float16 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "pulls", "expected"),
    [("float16", 0.0, "underflow"), ("float32", 0.0, "no-gradient"), ("bfloat16", 0.0, "no-gradient"),
     ("float16", NAN, "no-gradient"), ("float16", 0.5, "no-gradient")],
)  # fmt: skip
def test_gradients_of_0_in_float16_are_rounded_where_the_criterion_pulls(own, kind, pulls, expected) -> None:  # type: ignore[no-untyped-def]
    def change(layers, _):  # type: ignore[no-untyped-def]
        layers[["delta_rms", "weight_grad_norm"]] = 0.0

    tables = own(facts={"number_format": kind, "unpulled_fraction": pulls}, change=change, **FAILS)
    said = {"no-gradient", "underflow"} & {*verdicts(tables)}
    assert said == {expected}
    if expected == "underflow":
        assert "GradScaler" in str(judged(tables).cures[0])


@pytest.mark.parametrize(
    ("share", "kind", "lost"), [(0.5, "float16", True), (0.49, "float16", False), (0.5, "float32", False)]
)
def test_gradients_that_are_mostly_0_in_float16(own, share, kind, lost) -> None:  # type: ignore[no-untyped-def]
    def change(layers, _):  # type: ignore[no-untyped-def]
        layers["grad_zero_fraction"] = share

    facts = {"number_format": kind}
    assert holds(own, "underflow", facts, change, **FAILS) == lost
    assert not holds(own, "underflow", facts, change), "it learns"


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    ("numbers", "born_alone", "dead", "named"),
    [
        ((1, 2), False, False, True),
        ((3,), False, False, True),
        ((1,), True, False, False),
        ((1,), False, True, False),
    ],
)
def test_a_part_with_a_gradient_of_exactly_0_in_every_record(
    own, numbers, born_alone, dead, named, cut
) -> None:  # type: ignore[no-untyped-def]
    def change(layers, _):  # type: ignore[no-untyped-def]
        here = at(layers, *numbers) & ((layers["step"] == 0) if born_alone else True)
        layers.loc[here, "weight_grad_norm"] = 0.0
        if cut:  # delta too is 0 there, and nothing of the units says why
            layers.loc[at(layers, *numbers), "delta_rms"] = 0.0
        if dead:
            layers.loc[at(layers, 3), "dead_fraction"] = 1.0

    assert ("no-gradient" in verdicts(own(change=change, **FAILS))) == named
    assert "no-gradient" not in verdicts(own(change=change)), "a net that learns does not need that part"
    if named:
        text = finding(own(change=change, **FAILS), "no-gradient").evidence
        assert f"{len(numbers)} of {READOUT} modules get a gradient of exactly 0" in text


def test_detach_in_the_middle_is_no_gradient_below_it(own) -> None:  # type: ignore[no-untyped-def]
    tables = own(change=trains("no gradient", 1, 2), end=0.1)
    found = finding(tables, "no-gradient")
    assert "all below 4: the path is cut there (detach" in found.evidence
    assert found.layer is None or found.layer == 2
    assert not {"diverged", "vanishing"} & {*verdicts(tables)}, (
        "what a record does not have is no number lost"
    )


@pytest.mark.parametrize(("activation", "first"), [("sigmoid", "code"), ("tanh", "initial-weights")])
def test_a_gradient_that_sigmoids_shrink_asks_for_another_activation_first(own, activation, first) -> None:  # type: ignore[no-untyped-def]
    found = judged(own(decay=0.01, end=1.0, activation=activation))
    assert found.verdicts[0] == "vanishing" and found.cures[0].do == first
    assert any(cure.do == "initial-weights" for cure in found.cures)


@pytest.mark.parametrize(
    ("numbers", "end", "expected"),
    [
        ((3,), 0.1, "healthy"),
        ((READOUT,), 0.1, "healthy"),
        ((3,), 1.0, "no-gradient"),
        ((1,), 0.1, "no-gradient"),
        ((1, 2), 0.1, "no-gradient"),
    ],
)  # fmt: skip
def test_a_part_that_the_loss_does_not_use_is_no_fault_of_a_net_that_learns(
    own, numbers, end, expected
) -> None:  # type: ignore[no-untyped-def]
    """As the pooler of an encoder whose states alone are used; what is cut off from below is a fault in any case."""
    found = judged(own(change=trains("no gradient", *numbers), end=end))
    assert found.verdicts[0] == expected
    told = any("no-gradient" in note and "but no fault" in note for note in found.notes)
    assert told == (expected == "healthy")


@pytest.mark.parametrize(
    ("word", "steps", "ill"),
    [
        ("no gradient", None, True),
        ("no gradient", (0, 2, 8, 32, 128), False),  # another head's turn, an idle expert
        ("no gradient", (200,), False),
        ("frozen", None, False),
        ("frozen", (128, 200), False),
        ("yes", None, False),
    ],
)  # fmt: skip
def test_a_frozen_layer_and_one_that_waits_for_its_turn_are_not_cut_off(own, word, steps, ill) -> None:  # type: ignore[no-untyped-def]
    found = verdicts(own(change=trains(word, 1, steps=steps)))
    assert found == (("no-gradient",) if ill else ("healthy",))


def without_gradient(size=0.0, loss=None):  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        layers["weight_grad_norm"] = size
        layers["delta_rms"] = size
        if loss is not None:
            steps["probe_loss"] = steps["train_loss"] = loss

    return change


@pytest.mark.parametrize(
    ("size", "loss", "ill"),
    [(0.0, 1.1, True), (0.0, 1.1e-6, True), (0.0, 1e-7, False), (1e-12, 1.1, False)],
)
def test_a_gradient_of_exactly_0_is_a_perfect_fit_only_where_the_loss_says_so(own, size, loss, ill) -> None:  # type: ignore[no-untyped-def]
    assert holds(own, "no-gradient", change=without_gradient(size, loss)) == ill


def test_why_the_gradient_is_0(own) -> None:  # type: ignore[no-untyped-def]
    def dead_output(layers, steps):  # type: ignore[no-untyped-def]
        without_gradient(loss=1.1)(layers, steps)
        layers.loc[at(layers, READOUT), ["dead_fraction", "batch_dead_fraction", "layer_activation"]] = [
            1.0,
            1.0,
            "relu",
        ]

    def flat_output(layers, steps):  # type: ignore[no-untyped-def]
        without_gradient(loss=1.1)(layers, steps)
        layers.loc[at(layers, READOUT), ["slope_sq", "layer_activation"]] = [0.0, "sigmoid"]

    def said(change, **facts):  # type: ignore[no-untyped-def]
        return finding(own(change=change, facts=facts), "no-gradient").evidence

    rest = without_gradient(loss=1.1)
    assert "a softmax over one unit is constant" in said(rest, output_activation="softmax", output_units=1)
    assert "all of 8 is dead" in said(dead_output)
    assert "8 is saturated" in said(flat_output)
    assert "the same for every sample" in said(rest, output_spread=0.0)
    assert "the loss does not depend on the weights" in said(rest)


# -- constant-output -----------------------------------------------------------------------------------------


def spread(*values):  # type: ignore[no-untyped-def]
    """The last records' output_spread."""

    def change(layers, steps):  # type: ignore[no-untyped-def]
        steps.loc[steps.index[-len(values) :], "output_spread"] = values

    return change


@pytest.mark.parametrize(
    ("values", "flat"),
    [
        ((0.0, 0.0, 0.0), True),
        ((0.0489, 0.0489, 0.0489), True),  # a twentieth of the targets' 0.98
        ((0.0491, 0.0491, 0.0491), False),
        ((0.5, 0.0, 0.0), False),
        ((0.0, 0.0, 0.5), False),
    ],
)
def test_outputs_that_do_not_depend_on_the_sample(own, values, flat) -> None:  # type: ignore[no-untyped-def]
    assert holds(own, "constant-output", change=spread(*values), **FAILS) == flat
    assert not holds(own, "constant-output", change=spread(*values)), "it learns"
    if flat:
        tables = own(change=spread(*values), **FAILS)
        assert (finding(tables, "constant-output").step, finding(tables, "constant-output").at_birth) == (
            64,
            False,
        )


@pytest.mark.parametrize(("noise", "flat"), [(2**0.5, True), (1.0, False), (0.0, False)])
def test_what_outputs_vary_by_from_call_to_call_is_none_of_the_samples(own, noise, flat) -> None:  # type: ignore[no-untyped-def]
    """Of two draws the difference has twice the variance of each."""
    assert holds(own, "constant-output", {"output_noise": noise}, **FAILS) == flat


NO_AIM = {
    **dict.fromkeys(("criterion", "target_kind", "target_shape"), ""),
    **dict.fromkeys(("target_min", "target_max", "target_rms", "target_spread", "target_distinct"), NAN),
    **dict.fromkeys(("baseline_loss", "probe_loss"), NAN),
}
"""What is not known of a loss that compares outputs with each other."""


@pytest.mark.parametrize(
    ("end", "size", "lost"), [(0.08, 0.9, True), (0.081, 0.9, False), (0.04, 0.045, False), (1.6, 0.9, False)]
)
def test_outputs_without_an_aim_that_lose_what_told_samples_apart(own, end, size, lost) -> None:  # type: ignore[no-untyped-def]
    """They begin with a spread of 0.8 at a size of 0.9; a tenth of it is left, by itself and beside their size."""
    steps = own()[1]["step"].tolist()
    facts = NO_AIM | {
        "output_spread": [0.8] * len(steps[:-3]) + [end] * 3,
        "output_rms": [0.9] * len(steps[:-3]) + [size] * 3,
    }
    tables = own(facts=facts)
    assert holds(own, "constant-output", facts) == lost
    if lost:
        found = finding(tables, "constant-output")
        assert "by 0.8 at the first record" in found.evidence and found.step == steps[-3]
        assert "Hadsell" in judged(tables).cures[0].reason


def test_a_loss_of_several_terms_falls_though_the_outputs_say_nothing(own) -> None:  # type: ignore[no-untyped-def]
    facts = {"baseline_loss": NAN, "output_spread": 0.04}
    tables = own(facts=facts)
    assert verdicts(tables) == ("constant-output",) and "Bowman" in judged(tables).cures[0].reason
    assert verdicts(own(facts=facts | {"output_spread": 0.06})) == ("healthy",)
    assert verdicts(own(facts=facts | {"output_shape": "64 x 6", "criterion": "my_loss"})) == ("healthy",), (
        "other outputs than targets"
    )


def test_weights_that_a_penalty_draws_to_0(own) -> None:  # type: ignore[no-untyped-def]
    def shrinks(least):  # type: ignore[no-untyped-def]
        def change(layers, steps):  # type: ignore[no-untyped-def]
            spread(0.0, 0.0, 0.0)(layers, steps)
            layers.loc[layers["step"] == 200, "weight_norm"] = 8.0 / least

        return judged(own(change=change, **FAILS)).cures[0].code

    assert "weight_decay=0" in shrinks(3.01) and "weight_decay=0" not in shrinks(2.99)


def test_one_sample_varies_over_no_samples(own) -> None:  # type: ignore[no-untyped-def]
    """With targets or without: then the outputs' shape says how many samples the probe has."""
    without = {
        "criterion": "",
        "target_kind": "",
        "target_shape": "",
        "probe_loss": NAN,
        "baseline_loss": NAN,
    }
    without |= {f"target_{name}": NAN for name in ("min", "max", "rms", "spread", "distinct")}
    still = without | {"train_loss": 1.0, "output_spread": 0.0}
    assert holds(own, "constant-output", still | {"output_shape": "2 x 3"})
    assert not holds(own, "constant-output", still | {"output_shape": "1 x 3"})


@pytest.mark.parametrize(
    ("facts", "flat"),
    [
        ({"output_spread": 0.9e-6, "output_rms": 1.0}, True),
        (CLASSES | {"output_spread": 0.01, "target_max": 2}, True),  # of a logit: of 1
        (CLASSES | {"output_spread": 0.011, "target_max": 2}, False),
        ({"output_spread": 0.05, "output_rms": 1e5}, True),  # float32 gives the same for all
        ({"output_spread": 0.11, "output_rms": 1e5}, False),
        ({"output_spread": 0.0, "target_shape": "1 x 3", "output_shape": "1 x 3"}, False),
        ({"output_spread": 0.0, "target_distinct": 1}, False),  # as the targets are
    ],
)
def test_the_scale_of_a_constant_output(own, facts, flat) -> None:  # type: ignore[no-untyped-def]
    assert holds(own, "constant-output", facts, **FAILS) == flat


# -- rate-too-high, rate-too-low -----------------------------------------------------------------------------


def ratio(value, from_step=0, numbers=(1, 2, 3, 4, 5)):  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[at(layers, *numbers) & (layers["step"] >= from_step), "update_ratio"] = value

    return change


@pytest.mark.parametrize(
    ("value", "from_step", "numbers", "high"),
    [
        (0.1, 0, (1, 2, 3, 4, 5), True),
        (0.099, 0, (1, 2, 3, 4, 5), False),
        (0.1, 32, (1, 2, 3, 4, 5), True),
        (50.0, 0, (1, 2), False),  # the median module is not among them
        (50.0, 0, (1, 2, 3), True),
        (INF, 0, (1, 2, 3, 4, 5), False),
    ],
)
def test_an_update_of_a_tenth_of_the_weights_is_too_large_where_it_harms(
    own, value, from_step, numbers, high
) -> None:  # type: ignore[no-untyped-def]
    tables = own(change=ratio(value, from_step, numbers), **FAILS)
    assert ("rate-too-high" in verdicts(tables)) == high
    assert not holds(own, "rate-too-high", change=ratio(value, from_step, numbers)), "it learns"
    if high:
        assert finding(tables, "rate-too-high").step == from_step
        rate = next(each for each in judged(tables).cures if each.do == "rate")
        assert rate.to == pytest.approx(0.03 * 3e-3 / value, rel=0.6) and rate.to < 0.03


@pytest.mark.parametrize(("norm", "high"), [(1e-4, False), (0.1, True)])
def test_weights_that_were_born_as_0_say_nothing_of_the_rate(own, norm, high) -> None:  # type: ignore[no-untyped-def]
    """LoRA's B, ReZero's factors: any first update is infinitely larger than they were."""

    def change(layers, steps):  # type: ignore[no-untyped-def]
        ratio(9.0, 0, (1, 2, 3))(layers, steps)
        layers.loc[at(layers, 1, 2) & (layers["step"] == 0), "weight_norm"] = norm

    assert holds(own, "rate-too-high", change=change, **FAILS) == high


@pytest.mark.parametrize(("share", "carried"), [(0.5, True), (0.49, False)])
def test_gradients_that_add_up_are_a_rate_too_high(own, share, carried) -> None:  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        steps.loc[steps["step"] >= 1, "carried_gradients"] = share

    tables = own(change=change, **FAILS)
    assert ("rate-too-high" in verdicts(tables)) == carried
    assert not holds(own, "rate-too-high", change=change)
    if carried:
        assert "50% of the gradients were not zeroed" in finding(tables, "rate-too-high").evidence
        assert finding(tables, "rate-too-high").step == 1 and "zero_grad" in judged(tables).cures[0].code


def test_an_update_after_an_explosion_or_overflow_is_not_the_rates_fault(own) -> None:  # type: ignore[no-untyped-def]
    def overflown(layers, steps):  # type: ignore[no-untyped-def]
        ratio(9.0)(layers, steps)
        layers.loc[(layers["step"] == 0) & at(layers, 2), "nonfinite"] = 1

    assert not holds(own, "rate-too-high", change=ratio(9.0), decay=5.0, **FAILS)  # 2.1 decades at birth
    assert holds(own, "rate-too-high", change=ratio(9.0), decay=4.5, **FAILS)  # 1.96
    assert not holds(own, "rate-too-high", change=overflown, **FAILS)


@pytest.mark.parametrize(
    ("value", "low"),
    [(2.4e-4, True), (2.6e-4, False), (0.0, False)],  # 200 updates of 2.5e-4 are 0.05
)
def test_updates_that_hardly_move_the_weights_are_too_small_where_nothing_is_learned(own, value, low) -> None:  # type: ignore[no-untyped-def]
    tables = own(change=ratio(value), **FAILS)
    assert ("rate-too-low" in verdicts(tables)) == low
    assert not holds(own, "rate-too-low", change=ratio(value)), "it learns"
    if low:
        assert "200 updates at rate 0.03" in finding(tables, "rate-too-low").evidence
        rate = next(each for each in judged(tables).cures if each.do == "rate")
        assert rate.to == pytest.approx(0.03 * 3e-3 / value, rel=0.6) and rate.to > 0.03


def test_one_module_that_moves_is_enough(own) -> None:  # type: ignore[no-untyped-def]
    assert not holds(own, "rate-too-low", change=ratio(1e-6, 0, (1, 2, 3, 4)), **FAILS)


# -- unstable ------------------------------------------------------------------------------------------------


def path(*losses):  # type: ignore[no-untyped-def]
    """The probe's losses at the last records; the first ones are 1.1."""

    def change(layers, steps):  # type: ignore[no-untyped-def]
        steps["probe_loss"] = [1.1] * (len(steps) - len(losses)) + [*losses]
        steps["train_loss"] = 1.0

    return change


@pytest.mark.parametrize(
    ("losses", "lost"),
    [
        ((0.6, 0.85, 0.85, 0.85), True),  # of a gain of 0.4, 0.15 is left
        ((0.6, 0.75, 0.75, 0.75), False),  # 0.25
        ((0.7, 0.95, 0.95, 0.95), False),  # the gain was less than a third
        ((0.66, 0.95, 0.95, 0.95), True),
        ((0.6, 0.6, 0.6, 0.6), False),
    ],
)
def test_a_net_that_learned_and_lost_more_than_half_of_it_is_unstable(own, losses, lost) -> None:  # type: ignore[no-untyped-def]
    tables = own(change=path(*losses))
    assert ("unstable" in verdicts(tables)) == lost
    if lost:
        assert (
            f"probe loss {losses[0]:.3g} at step 32 and {losses[-1]:.3g} in the end"
            in judged(tables).findings[0].evidence
        )


@pytest.mark.parametrize(
    ("seeds", "failed", "expected"), [(3, 2, True), (3, 3, False), (2, 1, False), (3, 0, False)]
)
def test_seeds_that_differ_are_unstable_from_three_on(own, seeds, failed, expected) -> None:  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        steps.loc[steps["seed"] < failed, "probe_loss"] = 1.1

    tables = own(seeds=seeds, change=change)
    assert ("unstable" in verdicts(tables)) == expected
    if expected:
        assert "1 of 3 seeds learn" in finding(tables, "unstable").evidence


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.28, 0.75, 0.78), ("unstable", "1/3")),  # a gain of 0.18 where the median seed gains 0.65
        ((0.45, 0.75, 0.78), ("healthy", "3/3")),  # 0.35, more than half of it
        ((0.1, 0.75, 0.78), ("unstable", "1/3")),
        ((0.28, 0.3, 0.33), ("healthy", "3/3")),  # all learn alike, and little
        ((0.28, 0.78), ("healthy", "2/2")),  # two seeds cannot disagree
    ],
)
def test_a_seed_that_ends_far_behind_the_others_makes_the_cell_unstable(cell, ends, said) -> None:  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        for seed, end in enumerate(ends):
            steps.loc[(steps["seed"] == seed) & (steps["step"] >= 250), "val_accuracy"] = end
        steps["val_accuracy"] = steps["val_accuracy"].where(steps["step"] >= 250, 0.1)
        steps["train_loss"] = 2.0  # so that accuracy alone tells who learned

    found = diagnose(*cell(seeds=len(ends), change=change), chance=0.1)[0]
    assert (",".join(found.verdicts), found.seeds_text) == said
    if said[0] == "unstable" and min(ends) > 0.2:
        assert "0.28, 0.75, 0.78" in found.findings[0].evidence


# -- dead, saturated, vanishing, exploding: each row by itself -----------------------------------------------


def row(number, **columns):  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        for name, value in columns.items():
            layers.loc[at(layers, number), name] = value

    return change


def dying(share):  # type: ignore[no-untyped-def]
    return {"dead_fraction": share, "batch_dead_fraction": share, "layer_activation": "relu"}


@pytest.mark.parametrize(
    ("number", "share", "fan_out", "end", "expected"),
    [
        (READOUT, 0.75, 64, 1.0, True),
        (READOUT, 0.74, 64, 1.0, False),
        (READOUT, 0.96, 64, 0.1, True),
        (READOUT, 0.94, 64, 0.1, False),
        (READOUT, 1.0, 1, 0.1, True),
        (2, 2 / 3, 3, 0.1, False),  # one living unit of three, and the net learns
        (2, 2 / 3, 3, 1.0, True),
        (2, 0.98, 50, 0.1, False),  # one of fifty
        (2, 0.98, 100, 0.1, True),  # two of a hundred: no tiny layer
        (2, 1.0, 3, 0.1, True),
    ],
)
def test_dead_rows_the_output_and_the_tiny_layer(own, number, share, fan_out, end, expected) -> None:  # type: ignore[no-untyped-def]
    tables = own(change=row(number, fan_out=fan_out, **dying(share)), end=end)
    assert ("dead" in verdicts(tables)) == expected
    if expected:
        found = finding(tables, "dead")
        assert found.layer == number and f"{share:.0%} of {2 * (number - 1)} is dead" in found.evidence


def test_units_that_live_on_every_batch_are_not_dead_by_the_running_statistics_of_an_early_step(own) -> None:  # type: ignore[no-untyped-def]
    seems = row(2, dead_fraction=1.0, batch_dead_fraction=0.1, layer_activation="relu")
    assert verdicts(own(change=seems)) == ("healthy",)
    assert "dead" in verdicts(own(change=row(2, **dying(1.0))))


@pytest.mark.parametrize(
    ("number", "activation", "share", "end", "expected"),
    [
        (2, "sigmoid", 0.5, 1.0, True),
        (2, "sigmoid", 0.49, 1.0, False),
        (2, "sigmoid", 0.8, 0.1, True),
        (2, "sigmoid", 0.79, 0.1, False),
        (2, "gelu", 0.95, 0.1, True),
        (2, "gelu", 0.94, 1.0, False),
        (2, "relu", 0.9, 1.0, False),
        (READOUT, "sigmoid", 0.5, 1.0, True),
        (READOUT, "sigmoid", 0.49, 1.0, False),
        (READOUT, "sigmoid", 1.0, 0.1, False),  # an output that is right may well be far out
    ],
)
def test_saturation_is_judged_by_each_rows_own_activation(
    own, number, activation, share, end, expected
) -> None:  # type: ignore[no-untyped-def]
    """The other rows are of another kind."""
    other = "tanh" if activation in ("gelu", "relu") else "relu"
    change = row(number, saturated_fraction=share, layer_activation=activation)
    tables = own(change=change, end=end, activation=other)
    assert ("saturated" in verdicts(tables)) == expected
    if expected:
        assert finding(tables, "saturated").layer == number


def zero(*numbers, steps=None):  # type: ignore[no-untyped-def]
    def change(layers, _):  # type: ignore[no-untyped-def]
        here = at(layers, *numbers) & (True if steps is None else layers["step"].isin(steps))
        layers.loc[here, ["delta_rms", "weight_grad_norm"]] = 0.0

    return change


def test_a_call_whose_delta_is_0_and_whose_weights_have_a_gradient_cuts_nothing(own) -> None:  # type: ignore[no-untyped-def]
    """As the first call of a critic is, whose gradient penalty comes to its weights and not to its outputs."""

    def change(name):  # type: ignore[no-untyped-def]
        def change(layers, _):  # type: ignore[no-untyped-def]
            layers.loc[at(layers, 1), "delta_rms"] = 0.0
            layers.loc[at(layers, 2), "name"] = name

        return change

    assert verdicts(own(change=change("0#2"))) == ("healthy",)
    assert verdicts(own(change=change("2"))) == ("vanishing",)


@pytest.mark.parametrize(
    ("numbers", "steps", "expected"),
    [
        ((2,), None, "healthy"),  # a branch at 0 above a layer with a delta
        ((2, 3), (0,), "healthy"),
        ((1, 2), None, "vanishing"),  # down to the bottom: the way ends
        ((1, 2), (0,), "healthy"),  # LoRA: A gets no delta while B is 0
        ((1,), None, "vanishing"),
    ],
)
def test_a_branch_of_which_the_delta_is_0_is_no_end_of_the_way(own, numbers, steps, expected) -> None:  # type: ignore[no-untyped-def]
    assert verdicts(own(change=zero(*numbers, steps=steps))) == (expected,)


@pytest.mark.parametrize(
    ("factor", "weak", "strong"), [(4.5, False, False), (4.8, True, False), (50.0, True, True)]
)
@pytest.mark.parametrize("down", [True, False])
def test_two_decades_harm_and_five_are_a_fault_anyway(own, factor, weak, strong, down) -> None:  # type: ignore[no-untyped-def]
    """Three steps between four layers: 2 decades are 4.64 a layer, 5 are 46.4."""
    verdict, decay = ("vanishing", 1 / factor) if down else ("exploding", factor)
    assert holds(own, verdict, decay=decay, **FAILS) == weak
    assert holds(own, verdict, decay=decay) == strong
    assert not holds(own, "exploding" if down else "vanishing", decay=decay, **FAILS)


# -- diverged, not-learning ----------------------------------------------------------------------------------


def losses(values, probe=None):  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        steps["train_loss"] = values
        steps["probe_loss"] = values if probe is None else probe

    return change


@pytest.mark.parametrize(
    ("values", "probe", "expected"),
    [
        ([1.0] * 7 + [NAN] * 3, 1.0, True),
        ([1.0] * 7 + [NAN] * 2 + [1.0], 1.0, False),  # one that healed
        ([1.0] * 7 + [INF] * 3, 1.0, True),
        ([1.0] * 5 + [11.0] + [1.0] * 4, 1.0, True),  # ten times, and nothing learned
        ([1.0] * 5 + [9.0] + [1.0] * 4, 1.0, False),
        ([1.0] * 5 + [11.0] + [1.0] * 4, 0.1, False),  # it healed and learned
        ([1.0] * 7 + [2.1] * 3, 0.1, True),  # ends at twice its start
        ([1.0] * 7 + [1.9] * 3, 0.1, False),
    ],
)
def test_a_loss_that_is_no_number_or_many_times_its_start(own, values, probe, expected) -> None:  # type: ignore[no-untyped-def]
    assert holds(own, "diverged", change=losses(values, probe)) == expected


@pytest.mark.parametrize("rate", [0.0, 0.01])
def test_weights_that_never_change_ask_for_a_step_or_a_rate_and_not_for_a_larger_one(own, rate) -> None:  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        layers["update_ratio"] = 0.0 if rate == 0 else NAN
        steps["learning_rate"] = rate

    tables = own(change=change, **FAILS)
    assert ("rate-too-low" in verdicts(tables)) == (rate == 0)
    evidence = finding(tables, "rate-too-low" if rate == 0 else "not-learning").evidence
    assert ("the rate is 0 in every record" if rate == 0 else "no weight changes") in evidence
    first = judged(tables).cures[0]
    assert first.do == "code" and ("schedule" if rate == 0 else "optimizer.step()") in str(first)
    assert all(cure.do != "rate" for cure in judged(tables).cures)


@pytest.mark.parametrize(
    ("share", "fades"), [(1.0, False), (0.011, False), (0.009, True), (1e-50, True)], ids=str
)
def test_a_schedule_that_ends_at_once_is_what_the_advice_speaks_of(own, share, fades) -> None:  # type: ignore[no-untyped-def]
    """A rate times what is missing would be a rate of millions, and the schedule would take that down as well."""

    def change(layers, steps):  # type: ignore[no-untyped-def]
        layers["update_ratio"] = 1e-7
        steps["learning_rate"] = np.where(steps["step"] > 0, 0.1 * share, 0.1)

    tables = own(change=change, **FAILS)
    found = finding(tables, "rate-too-low")
    assert ("from 0.1 to less than a hundredth of it by step" in found.evidence) == fades
    first = judged(tables).cures[0]
    assert (first.do == "code" and "scheduler" in str(first)) == fades
    assert ("rate" in {cure.do for cure in judged(tables).cures}) == (not fades)


def test_a_divergence_before_any_update_is_not_mended_by_a_rate(own) -> None:  # type: ignore[no-untyped-def]
    def born(layers, steps):  # type: ignore[no-untyped-def]
        layers["delta_rms"] = INF
        steps["train_loss"] = INF

    (at_birth, later) = (judged(own(change=each)) for each in (born, losses([1.0] * 7 + [NAN] * 3, 1.0)))
    assert "diverged" in at_birth.verdicts and "diverged" in later.verdicts
    assert not {"rate", "clip"} & {cure.do for cure in at_birth.cures if "tangent" in cure.reason}
    assert next(iter(at_birth.cures)).do != "rate"
    assert "rate" in {cure.do for cure in later.cures}


@pytest.mark.parametrize(
    ("baseline", "end", "learned"),
    [(1.0, 0.89, True), (1.0, 0.91, False), (2.0, 1.79, True), (2.0, 1.81, False)],
)
def test_a_net_learns_when_it_beats_the_best_constant_output_by_a_tenth(own, baseline, end, learned) -> None:  # type: ignore[no-untyped-def]
    tables = own(end=end, baseline=baseline)
    assert ("not-learning" in verdicts(tables)) == (not learned)
    said = " ".join((*judged(tables).notes, *(each.evidence for each in judged(tables).findings)))
    assert f"where the best constant output has {baseline:g}" in said


def test_falling_to_the_best_constant_output_is_not_learning(own) -> None:  # type: ignore[no-untyped-def]
    """From a bad start a loss falls far without anything being learned of the samples."""

    def change(layers, steps):  # type: ignore[no-untyped-def]
        steps["probe_loss"] = steps["train_loss"] = np.linspace(50.0, 1.0, len(steps))

    assert verdicts(own(change=change)) == ("not-learning",)
    layers, steps = own(change=change)
    assert verdicts((layers, steps.drop(columns=["probe_loss", "baseline_loss"]))) == ("healthy",)


@pytest.mark.parametrize(
    ("end", "rows", "learned"), [(0.66, 64, True), (0.64, 64, False), (0.64, 1000, True)]
)
def test_accuracy_on_the_probe_counts_beyond_what_guessing_gives(own, end, rows, learned) -> None:  # type: ignore[no-untyped-def]
    """A guess of half right has a deviation of sqrt(0.25 / rows): 0.0625 on 64 rows; three of them are 0.19."""
    end += 0.03
    facts = CLASSES | {"target_max": 2, "target_shape": f"{rows}", "baseline_accuracy": 0.5}

    def change(layers, steps):  # type: ignore[no-untyped-def]
        steps["probe_accuracy"] = [0.5] * (len(steps) - 3) + [end] * 3

    assert ("not-learning" in verdicts(own(facts=facts, change=change, **FAILS))) == (not learned)


# -- principle 1: healthy is earned --------------------------------------------------------------------------


def forget(*columns):  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        steps.loc[:, [*columns]] = NAN
        if "probe_loss" in columns:  # nobody gave a criterion
            steps["criterion"] = ""

    return change


EVERY_LOSS = ("train_loss", "probe_loss", "baseline_loss")


def test_without_any_loss_it_is_undecided_and_the_text_says_how_to_give_it(own) -> None:  # type: ignore[no-untyped-def]
    found = judged(own(change=forget(*EVERY_LOSS)))
    assert found.verdicts == ("undecided",) and not found.healthy
    assert "no loss was recorded" in found.undecided
    for given in ("targets=", "criterion=", "recorder.step(loss=loss)"):
        assert given in found.undecided
    assert "too few" not in found.undecided
    assert any("at birth" in note for note in found.notes), "what was looked at"
    layers, _ = own()
    assert verdicts((layers, None)) == ("undecided",)


@pytest.mark.parametrize(
    ("steps", "few"), [((0,), True), ((0, 50, 99), True), ((0, 50, 100), False), ((300, 350, 399), True)]
)
def test_too_few_updates_are_the_reason_only_where_they_are(own, steps, few) -> None:  # type: ignore[no-untyped-def]
    found = judged(own(steps=steps))
    assert found.verdicts == (("undecided",) if few else ("healthy",))
    assert ("too few updates" in found.undecided) == few


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(1.0, 0.1, ("healthy",)), (1.0, 0.97, ("undecided",)), (1.0, 0.995, ("not-learning",))],
)
def test_a_batch_loss_alone(own, start, end, expected) -> None:  # type: ignore[no-untyped-def]
    """Of an adversary or a policy it need not fall: what moves without falling says nothing, what stays put does."""

    def change(layers, steps):  # type: ignore[no-untyped-def]
        forget("probe_loss", "baseline_loss")(layers, steps)
        steps["train_loss"] = np.linspace(start, end, len(steps))

    found = judged(own(change=change))
    assert found.verdicts == expected
    if expected == ("undecided",):
        assert "does not say whether it learns" in found.undecided and "targets=" in found.undecided


def test_a_fault_is_named_though_nothing_is_known_of_learning(own) -> None:  # type: ignore[no-untyped-def]
    assert verdicts(own(change=forget(*EVERY_LOSS), decay=0.1)) == ("vanishing",)


# -- principle 2: absent, zero and not finite are three things -----------------------------------------------


@pytest.mark.parametrize(
    ("delta", "count", "expected"),
    [(NAN, 0, ("healthy",)), (NAN, 3, ("diverged",)), (INF, 0, ("diverged",)), (0.0, 0, ("healthy",))],
)
@pytest.mark.parametrize("where", ["a hidden layer", "another head"])
def test_absent_zero_and_not_finite(own, delta, count, expected, where) -> None:  # type: ignore[no-untyped-def]
    """In the last record: a head that had no turn, an expert without a token, a layer that was dropped."""
    number = READOUT if where == "another head" else 3

    def change(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[at(layers, number) & (layers["step"] == 200), ["delta_rms", "nonfinite"]] = [delta, count]

    assert verdicts(own(change=change)) == expected


@pytest.mark.parametrize("number", [1, 4, READOUT])
def test_a_head_or_layer_that_is_idle_every_other_record_is_healthy(own, number) -> None:  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        idle = at(layers, number) & layers["step"].isin(steps["step"].iloc[1::2])
        layers.loc[idle, ["delta_rms", "weight_grad_norm", "update_ratio"]] = NAN
        layers.loc[idle, "trains"] = "no gradient"

    assert verdicts(own(change=change)) == ("healthy",)


@pytest.mark.parametrize("given", ["both losses", "the probe's", "none"])
def test_a_loss_of_nan_behind_a_rectified_output_diverges(own, given) -> None:  # type: ignore[no-untyped-def]
    """Behind a ReLU that passes nothing every gradient is a number, and the loss is none from the first step."""

    def change(layers, steps):  # type: ignore[no-untyped-def]
        steps[["train_loss", "probe_loss", "baseline_loss"]] = NAN
        if given == "the probe's":
            steps["train_loss"] = np.linspace(1.0, 0.9, len(steps))
        elif given == "none":
            steps["criterion"] = ""

    found = judged(own(change=change))
    assert found.verdicts == (("undecided",) if given == "none" else ("diverged",))
    if given != "none":
        assert found.findings[0].step == 0 and "not finite at step 0" in found.findings[0].evidence


# -- principle 3: a ratio says which ends it has -------------------------------------------------------------


def test_of_a_frozen_first_layer_no_ratio_is_made(own) -> None:  # type: ignore[no-untyped-def]
    """Layers 2 to 4 differ by 2.4 decades; layer 1 is frozen and has no delta at all."""

    def frozen(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[at(layers, 1), ["delta_rms", "weight_grad_norm", "update_ratio"]] = NAN
        layers.loc[at(layers, 1), "trains"] = "frozen"

    tables = own(change=frozen, decay=10**-1.2, **FAILS)
    text = finding(tables, "vanishing").evidence
    assert f"{10**-2.4:.2g} from layer 4 to layer 2" in text and "layer 1" not in text
    assert verdicts(own(change=frozen)) == ("healthy",)


def test_of_a_layer_frozen_midway_the_sentence_names_the_layers_it_compares(own) -> None:  # type: ignore[no-untyped-def]
    """Layer 1 has a delta in the first records and none in those that the fault shows in."""

    def frozen(layers, steps):  # type: ignore[no-untyped-def]
        late = layers["step"] >= 32
        layers.loc[late & at(layers, 2), "delta_rms"] = 1e-5
        layers.loc[late & at(layers, 1), "delta_rms"] = NAN

    text = finding(own(change=frozen, **FAILS), "vanishing").evidence
    assert "0.0001 from layer 4 to layer 2" in text, text


def test_seeds_without_any_delta_have_no_ends(own) -> None:  # type: ignore[no-untyped-def]
    def nothing_passes(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[(layers["seed"] > 0) & ~at(layers, READOUT), ["delta_rms", "weight_grad_norm"]] = 0.0

    tables = own(seeds=3, decay=0.1, change=nothing_passes, **FAILS)
    assert "0.001 from layer 4 to layer 1" in finding(tables, "vanishing").evidence


def test_the_line_that_does_not_fit_is_no_decay(own) -> None:  # type: ignore[no-untyped-def]
    def uneven(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[at(layers, 1), "delta_rms"] *= 1e-3

    text = finding(own(change=uneven, depth=12, **FAILS), "vanishing").evidence
    assert "not evenly" in text and "0.001 between 2 and 0" in text


# -- principle 4: cause before symptom -----------------------------------------------------------------------


def test_raw_inputs_that_saturate_the_first_layer(own) -> None:  # type: ignore[no-untyped-def]
    def change(layers, steps):  # type: ignore[no-untyped-def]
        layers.loc[at(layers, 1), "saturated_fraction"] = 0.9

    tables = own(facts={"input_rms": 2000.0}, change=change, decay=0.1, **FAILS)
    assert verdicts(tables) == ("input-scale", "saturated", "vanishing", "not-learning")
    assert "90% of 0 is saturated at birth" in judged(tables).findings[0].evidence
    assert judged(tables).cures[0].do == "standardise-inputs" and "x.mean" not in judged(tables).advice[:10]


def test_a_mismatch_stands_before_the_gradient_that_it_stops(own) -> None:  # type: ignore[no-untyped-def]
    facts = {"output_activation": "softmax", "output_units": 1, "output_spread": 0.0}
    tables = own(facts=facts, change=without_gradient(loss=1.1))
    assert verdicts(tables)[:2] == ("output-mismatch", "no-gradient")


# -- principle 5: a replica that learns without harm is not ill ----------------------------------------------


def test_lora_with_a_matrix_of_0(own) -> None:  # type: ignore[no-untyped-def]
    """B is born as 0: A gets a gradient of exactly 0 at first, B's first update is beyond all measure."""

    def change(layers, steps):  # type: ignore[no-untyped-def]
        born = layers["step"] == 0
        layers.loc[born & at(layers, 2), ["weight_norm", "update_ratio"]] = [0.0, INF]
        layers.loc[at(layers, 2) & (layers["step"] == 1), "update_ratio"] = 1.0
        layers.loc[born & at(layers, 1), ["weight_grad_norm", "delta_rms"]] = 0.0
        layers.loc[at(layers, 3, 4), "trains"] = "frozen"

    assert verdicts(own(change=change)) == ("healthy",)
    assert "rate-too-high" not in verdicts(own(change=change, **FAILS))


# -- principle 6: advice in the user's own terms -------------------------------------------------------------


def test_advice_is_pytorch_with_the_rate_that_was_measured(own) -> None:  # type: ignore[no-untyped-def]
    tables = own(change=ratio(0.3), **FAILS)
    assert judged(tables).advice.endswith('for group in optimizer.param_groups: group["lr"] = 0.0003')
    assert "--" not in judged(tables).advice
    layers, steps = tables
    nothing_known = judged((layers, steps.assign(learning_rate=NAN)))
    assert not any(cure.do == "rate" for cure in nothing_known.cures)


def test_two_cures_that_contradict_each_other_are_not_both_given(own) -> None:  # type: ignore[no-untyped-def]
    for change in (ratio(0.3), ratio(1e-4), None, losses([1.0] * 7 + [NAN] * 3, 1.0)):
        found = judged(own(change=change, **FAILS))
        assert sum(cure.do == "rate" for cure in found.cures) <= 1


# -- principle 7: every number in a sentence stands in the tables --------------------------------------------


NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\+?\d+)?%?")


def shown(value: float, text: str) -> bool:
    """Whether a number written with as many digits as `text` reads like it."""
    bare = text.rstrip("%")
    wanted = float(bare) / (100 if text.endswith("%") else 1)
    digits = len(bare.partition("e")[0].lstrip("-0.").replace(".", "")) or 1
    half = 0.5 * 10.0 ** (np.floor(np.log10(abs(wanted))) - digits + 1) if wanted else 5e-4
    return bool(abs(value - wanted) <= half * 1.0001)


def ill(own):  # type: ignore[no-untyped-def]
    """Tables of each verdict, their numbers all different from round ones."""

    def change_all(*changes):  # type: ignore[no-untyped-def]
        def change(layers, steps):  # type: ignore[no-untyped-def]
            for each in changes:
                each(layers, steps)

        return change

    yield own(facts={"target_nonfinite": 37})
    yield own(
        facts=ONE_COLUMN | {"target_min": -1.37, "target_max": 1.73, "criterion": "binary_cross_entropy"}
    )
    yield own(facts=CLASSES | {"target_min": 0, "target_max": 47, "output_units": 31})
    yield own(facts={"target_distinct": 1, "target_min": 0.317, "target_max": 0.317})
    yield own(facts=CLASSES | {"criterion": "nll_loss", "output_max": 7.31, "target_max": 2})
    yield own(facts={"output_shape": "64 x 1", "target_shape": "64"})
    yield own(facts={"output_activation": "relu", "target_min": -17.3, "target_max": 23.7})
    yield own(facts={"input_rms": 1731.0, "input_ratio": 3170.0, "input_spread": 1690.0}, **FAILS)
    yield own(facts={"target_rms": 371.0, "output_rms": 0.731}, **FAILS)
    yield own(facts={"target_spread": 0.00317, "output_rms": 0.731}, **FAILS)
    yield own(change=trains("no gradient", 1, 2))
    yield own(change=trains("not in the optimizer", 3))
    yield own(change=trains("not registered", 1, 3))
    yield own(facts={"output_spread": 0.00317, "output_rms": 0.731}, **FAILS)
    yield own(change=ratio(0.371), **FAILS)
    yield own(change=ratio(0.000137), **FAILS)
    yield own(change=lambda layers, steps: steps.__setitem__("carried_gradients", 0.83), **FAILS)
    yield own(change=path(0.371, 0.917, 0.917, 0.917))
    yield own(change=row(3, fan_out=10, **dying(0.87)), **FAILS)
    yield own(change=row(READOUT, saturated_fraction=0.87, slope_sq=0.0137, layer_activation="tanh"), **FAILS)
    yield own(change=losses([1.37] * 6 + [23.7] + [7.31] * 3, 1.0))
    yield own(decay=0.137, **FAILS)
    yield own(decay=7.31, depth=7, **FAILS)
    yield own(**FAILS)
    yield own(end=0.317, seeds=3)


def test_every_number_of_a_finding_stands_in_the_tables(own) -> None:  # type: ignore[no-untyped-def]
    seen = set[str]()
    for tables in ill(own):
        layers, steps = tables
        found = judged(tables)
        numbers = pd.concat([layers.select_dtypes("number").stack(), steps.select_dtypes("number").stack()])
        known = {float(value) for value in numbers if np.isfinite(value)}
        known |= {
            float(part) for name in ("output_shape", "target_shape") for part in steps[name][0].split(" x ")
        }
        known |= {float(layers["layer"].nunique()), float(layers["seed"].nunique())}
        known |= {float(n) for n in range(int(layers["layer"].nunique()) + 1)}  # how many modules, seeds
        # what a sentence derives: the gradient's way from the top hidden layer down, and the way of the weights
        delta = layers[(layers["step"] == 0) & (layers["seed"] == 0)]["delta_rms"].to_numpy()
        known |= {delta[0] / delta[-2], float((delta[0] / delta[-2]) ** (1 / (len(delta) - 2)))}
        known |= {float(layers["update_ratio"].max() * steps["step"].max()), 0.0}
        units = layers[(layers["step"] == 0) & (layers["seed"] == 0)].iloc[:-1]
        known |= {float(np.average(units["dead_fraction"], weights=units["fan_out"]))}
        known |= {5 / 100} if "saturated" in found.verdicts else set()  # the definition of saturated_fraction
        for each in found.findings:
            seen.add(each.verdict)
            text = re.sub(r"layer \d+", "", each.evidence)
            for number in NUMBER.findall(text):
                assert any(shown(value, number) for value in known), (each.verdict, number, text)
            if each.step is not None:
                assert each.step in {*steps["step"]}
    assert seen >= {
        "bad-targets", "output-mismatch", "input-scale", "target-scale", "no-gradient", "constant-output", "dead",
        "saturated", "vanishing", "exploding", "rate-too-high", "rate-too-low", "unstable", "diverged", "not-learning",
    }  # fmt: skip


# -- what is no fault, or another than it seems --------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "rows", "said"),
    [
        (0.95, 256, "undecided"),
        (0.97, 256, "not-learning"),
        (0.95, 64, "not-learning"),
        (0.89, 64, "healthy"),
    ],
)
def test_a_little_that_is_no_accident_may_be_all_that_the_data_hold(own, end, rows, said) -> None:  # type: ignore[no-untyped-def]
    """9 / 256 is 0.035 and 9 / 64 is 0.14: what outputs that have nothing to do with the targets may explain."""
    tables = own(end=end, facts={"target_shape": f"{rows} x 3", "output_shape": f"{rows} x 3"})
    assert verdicts(tables) == (said,)


@pytest.mark.parametrize(("at_half", "said"), [(0.966, "undecided"), (0.967, "not-learning")])
def test_a_little_that_still_falls_is_not_all(own, at_half, said) -> None:  # type: ignore[no-untyped-def]
    """Of the 0.05 that it gains in all, the mean of the last three records, 0.0333 must be there after half of the
    steps."""
    near = (3 * 0.95 - at_half) / 2
    facts = {
        "target_shape": "256 x 3",
        "output_shape": "256 x 3",
        "probe_loss": [1.1] * 7 + [near, at_half, near],
    }
    assert verdicts(own(facts=facts)) == (said,)


@pytest.mark.parametrize(("end", "harms"), [(0.68, True), (0.66, False)])
def test_inputs_far_from_0_are_a_fault_of_a_net_that_learns_little(own, end, harms) -> None:  # type: ignore[no-untyped-def]
    facts = {"input_rms": 1.0, "input_spread": 0.1}
    assert holds(own, "input-scale", facts, end=end) == harms


def test_inputs_that_are_all_the_same_are_not_to_be_standardised(own) -> None:  # type: ignore[no-untyped-def]
    tables = own(facts={"input_constant": 1.0}, **FAILS)
    assert "every sample has the same inputs" in judged(tables).cures[0].reason


@pytest.mark.parametrize(
    ("ratio", "end", "said"),
    [(0.0, 0.8, ("rate-too-low",)), (1e-9, 0.8, ("healthy",)), (0.0, 0.1, ("healthy",))],
)
def test_a_module_that_gets_gradients_and_is_never_moved(own, ratio, end, said) -> None:  # type: ignore[no-untyped-def]
    def change(layers, _):  # type: ignore[no-untyped-def]
        layers.loc[at(layers, 1), "update_ratio"] = ratio

    tables = own(change=change, end=end)
    assert verdicts(tables) == said
    if said == ("rate-too-low",):
        assert "1 of 5 modules get gradients and are never moved" in judged(tables).findings[0].evidence


def test_gradients_that_are_zeroed_between_the_record_and_the_step(own) -> None:  # type: ignore[no-untyped-def]
    """They count as carried over, since they were not zeroed after the step, and no rate is too high."""

    def change(layers, _):  # type: ignore[no-untyped-def]
        layers["update_ratio"] = 0.0

    tables = own(facts={"carried_gradients": 1.0}, change=change, **FAILS)
    assert verdicts(tables) == ("not-learning",)
    assert "not between it and the step" in judged(tables).cures[0].reason


@pytest.mark.parametrize(("noise", "draws"), [(1.0, True), (0.99, False)])
def test_a_layer_that_is_made_in_forward_is_told_by_a_second_call(own, noise, draws) -> None:  # type: ignore[no-untyped-def]
    tables = own(facts={"output_noise": noise}, **FAILS)
    assert ("differ from call to call" in finding(tables, "not-learning").evidence) == draws
    assert ("drawn in forward" in judged(tables).cures[0].reason) == draws


@pytest.mark.parametrize(("loss", "gap"), [(0.49, True), (0.51, False)])
def test_a_net_that_fits_its_batches_and_not_its_probe(own, loss, gap) -> None:  # type: ignore[no-untyped-def]
    tables = own(facts={"train_loss": loss}, **FAILS)
    assert ("batch norm" in judged(tables).cures[0].reason) == gap
