"""The published results at their reduced sizes; and that none of them passes when the physics is broken."""

import pytest
from mutations import MUTATIONS

from gradlab.papers.registry import PAPERS
from gradlab.papers.reproduction import Reproduction, reproduce

QUICKEST = ["cho-saul-2009", "williams-1998", "roberts-2022", "saxe-2014", "lu-2019"]

# Which break makes which rows fail: between them, every asserted row of a result.
CATCHES = {
    "glorot-2010": ["wrong_gain", "lost_gradient", "half_of_the_weights", "tanh_for_sigmoid", "no_training"],
    "he-2015": ["bent_softmax", "slope_too_large", "correlated_cotangent", "no_training", "isometry"],
    "du-2018": ["lost_gradient"],
    "poole-2016": [
        "density_too_large",
        "signals_too_different",
        "slope_too_large",
        "wrong_gain",
        "positive_weights",
    ],
    "schoenholz-2017": ["density_too_large", "lost_gradient", "no_training", "shortcuts"],
    "marginal-tanh": ["density_too_large", "wrong_gain", "lost_gradient"],
    "saxe-2014": ["wrong_gain", "orthogonal_weights"],
    "pennington-2017": ["tied_units"],
    "xiao-2018": ["slope_too_large", "steeper_slope_map", "wrong_gain", "orthogonal_weights"],
    "lu-2019": ["positive_weights", "density_too_large"],
    "hanin-2018": ["tied_units", "wrong_gain"],
    "yang-2019": ["batch_of_three_less", "lost_gradient"],
    "klambauer-2017": ["other_constants", "gauss_hermite", "wrong_gain", "lost_gradient"],
    "hayou-2019": ["slope_too_large", "wrong_gain"],
    "residual-schemes": ["open_branches", "one_block_more", "wrong_gain", "flipped_sign"],
    "nielsen-2015": ["density_too_large", "lost_gradient", "half_of_the_weights", "tanh_for_sigmoid"],
    "roberts-2022": ["slope_too_large", "steeper_slope_map", "flat_length_map", "density_too_large"],
    "balduzzi-2017": ["signals_too_different", "flipped_sign"],
    "cho-saul-2009": ["density_too_large", "wrong_gain"],
    "williams-1998": ["density_too_large"],
    "glorot-2011": ["late_zeros"],
    "mishkin-2016": ["no_scaling"],
    "pascanu-2013": ["wrong_gain", "no_clipping", "always_clipping", "clipped_entries"],
    "le-2015": ["flipped_sign"],
    "chen-2018": ["wrong_gain", "half_of_the_weights", "tied_units", "gates_half_open"],
    "sussillo-2014": ["units_more", "wrong_gain"],
    "pytorch-selu": ["other_gain", "other_constants", "wrong_gain", "lost_gradient"],
    "philipp-2017": ["lost_gradient"],
    "doshi-2023": ["idle_norms", "wrong_gain"],
    "yang-schoenholz-2017": ["half_of_the_density", "no_saturation", "larger_power", "wrong_gain"],
    "daneshmand-2020": ["tied_units", "isometries", "idle_norms"],
    "xiong-2020": ["wrong_gain", "no_norm"],
    "dong-2021": ["leaning_attention", "cut_skips"],
    "noci-2022": ["no_softmax", "nothing_in_common", "wrong_gain"],
    "wang-2022": ["plain_post_norm", "no_norm"],
    "sun-2025": ["wrong_gain", "no_norm"],
    "martens-2021": ["one_more_block", "shaped_beside_the_target", "wrong_gain"],
    "zhang-2022": ["one_more_block", "density_too_large", "positive_weights"],
    "cohen-2021": ["tenfold_sharpness", "slow_ascent", "start_sharp"],
    "yang-hu-2021": ["swapped_rates", "lengths_for_means"],
    "activations-article": [
        "wrong_gain",
        "slope_too_large",
        "leaking_zero",
        "heavier_loss",
        "bent_softmax",
    ],
}


def failed(found: Reproduction) -> set[str]:
    return {timed.row.row for timed in found.rows if timed.row.outcome == "fail"}


def asserted(found: Reproduction) -> set[str]:
    """But for those that are known to fail at the paper's sizes."""
    return {timed.row.row for timed in found.rows if timed.row.tolerance is not None and not timed.row.found}


@pytest.mark.parametrize(
    "name", [*QUICKEST, *(pytest.param(n, marks=pytest.mark.slow) for n in PAPERS if n not in QUICKEST)]
)
def test_every_asserted_row_passes_at_reduced_size_or_is_known_to_fail(name: str) -> None:
    found = reproduce(PAPERS[name], quick=True)
    assert not found.unexplained, [str(timed.row) for timed in found.rows if timed.row.unexplained]
    assert asserted(found) and found.panels
    for timed in found.rows:
        text = str(timed.row.tolerance)
        assert timed.row.source and (timed.row.tolerance is None or text.partition(":")[2].strip())


@pytest.mark.parametrize(
    ("name", "broken", "rows"),
    [
        ("saxe-2014", "wrong_gain", {"orthogonal linear net", "Gaussian linear net, mean"}),
        (
            "klambauer-2017",
            "gauss_hermite",
            {"growth of the gradient", "spectral norm", "fixed point, variance"},
        ),
        ("balduzzi-2017", "flipped_sign", {"nets, 1 layers", "nets, 5 layers"}),
        ("lu-2019", "positive_weights", {"one input, N=2 L=10", "whole line, N=5 L=50"}),
    ],
)
def test_broken_physics_makes_rows_fail(name: str, broken: str, rows: set[str]) -> None:
    with MUTATIONS[broken]():
        assert rows <= failed(reproduce(PAPERS[name], quick=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CATCHES))
def test_every_asserted_row_fails_under_some_break(name: str) -> None:
    caught: set[str] = set()
    rows: set[str] = set()
    for broken in CATCHES[name]:
        with MUTATIONS[broken]():
            found = reproduce(PAPERS[name], quick=True)
        caught |= failed(found)
        rows |= asserted(found)
    assert rows <= caught, rows - caught


def test_every_result_has_breaks_to_catch() -> None:
    assert set(CATCHES) == set(PAPERS) and all(
        name in MUTATIONS for names in CATCHES.values() for name in names
    )
