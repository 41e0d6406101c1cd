"""The labelled nets of benchmarks/detectors: their scores, their truth, and what was done to them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, precision_score, recall_score

sys.path.append(str(Path(__file__).parents[2]))  # a checkout's folder, no part of the package

from benchmarks.detectors.case import Case, Change
from benchmarks.detectors.cases import all_cases
from benchmarks.detectors.making import FAR, Tampered, stack_of
from benchmarks.detectors.scoring import score
from benchmarks.detectors.truth import Outcome, truth


def test_scores_are_those_of_scikit_learn_and_intervals_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    true, called = rng.random(80) < 0.3, rng.random(80) < 0.4
    found = score([*true.tolist(), None, None], [*called.tolist(), True, False])
    assert found.examples == true.sum()
    assert found.precision[0] == pytest.approx(precision_score(true, called))
    assert found.recall[0] == pytest.approx(recall_score(true, called))
    assert found.f1[0] == pytest.approx(f1_score(true, called))
    hits, either = int((true & called).sum()), int((true | called).sum())
    for rate, trials in ((found.precision, called.sum()), (found.recall, true.sum())):
        assert rate[1:] == pytest.approx(stats.binomtest(hits, int(trials)).proportion_ci(method="wilson"))
    jaccard = stats.binomtest(hits, either).proportion_ci(method="wilson")
    assert found.f1[1:] == pytest.approx([2 * share / (1 + share) for share in jaccard])


def test_scores_without_examples_and_without_errors() -> None:
    assert np.isnan(score([False, False], [False, False]).f1).all()
    assert score([True, False], [False, False]).f1[0] == 0
    value, low, high = score([True] * 20, [True] * 20).f1
    assert (value, high) == (1, 1) and 0.85 < low < 1


@pytest.mark.parametrize(
    ("made", "seeds", "diverged", "learning"),
    [
        ("", [(0.9, False, 1, 0.1), (0.9, False, 1.9, 0.2)], False, False),
        ("", [(0.9, False, 1, 0.1), (0.9, False, 50, 0.2)], False, False),  # it came back
        ("", [(0.9, False, 1, 0.1), (0.6, False, 50, 0.2)], None, False),
        ("diverged", [(-0.1, True, np.inf, np.inf)] * 2, True, None),
        ("diverged", [(0.0, False, 40, 1.0), (-0.1, True, np.inf, np.inf)], True, None),  # a plateau, and NaN
        ("diverged", [(0.4, False, 90, 31), (0.0, False, 40, 20)], True, None),
        ("diverged", [(0.4, False, 90, 29), (0.0, False, 40, 20)], None, None),
        ("diverged", [(0.0, False, 1.5, 1)] * 2, False, True),
        ("diverged", [(0.0, False, 3, 1)] * 2, None, True),
    ],
)
def test_what_has_diverged_and_what_does_not_learn(made, seeds, diverged, learning) -> None:  # type: ignore[no-untyped-def]
    gained, broken, rose, end = zip(*seeds, strict=True)
    case = Case("a net", "a family", made, {})
    found = truth(case, Outcome(gained, gained, broken, rose, end))
    assert (found["diverged"], found["not-learning"]) == (diverged, learning)


def test_cases_are_distinct_and_split_by_their_names_alone() -> None:
    cases = all_cases()
    made = {repr((sorted(case.flags.items()), case.changes)) for case in cases}
    assert len(made) == len(cases) >= 500
    held = np.mean([case.part == "held" for case in cases])
    assert abs(held - 0.6) < 4 * np.sqrt(0.6 * 0.4 / len(cases))
    assert [case.name for case in all_cases()] == [case.name for case in cases]


@pytest.mark.parametrize(("kind", "output"), [("kill", 0.0), ("lift", 6.0)])
def test_a_flat_layer_is_dead_from_its_step_on(kind: str, output: float) -> None:
    flags = {"activation": "relu6", "depth": 3, "width": 8, "steps": 3, "data": "moons", "batch_size": 16}
    stack = stack_of(Case("a net", "a family", "dead", flags))
    training = Tampered(stack, stack.cell.dataset(), (Change(kind, 1.0, "middle", 2),))
    result = training.run(None, None)
    dead = result.layers.column("dead_fraction")[:, :, 1].T
    mean = result.layers.column("h_mean")[:, :, 1].T
    assert (dead[:2] < 1).all() and (dead[2:] == 1).all() and (mean[2:] == output).all()
    bias = training.mlp.linears[1].bias.detach().numpy()
    np.testing.assert_allclose(bias, -FAR if kind == "kill" else FAR)  # nothing reaches it any more
