"""Rows, tolerances and intervals; registry and files of a reproduction; thousands of nets drawn at once."""

import csv
from dataclasses import replace
from importlib import import_module
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from gradlab import activations
from gradlab.base.errors import ConfigError
from gradlab.nn.mlp import build_ensemble
from gradlab.papers import registry, reproduction
from gradlab.papers.claims import decide
from gradlab.papers.rows import (
    COLUMNS,
    Measured,
    Row,
    absolute,
    at_least,
    at_most,
    exactly,
    mean_of,
    relative,
    share_of,
)
from gradlab.parts import inits


def row(value: float, tolerance: object, name: str = "a row") -> Row:
    return Row(
        row=name,
        statement="one, two",
        published=1.0,
        measured=Measured(value, value - 1, value + 1),
        tolerance=tolerance,  # type: ignore[arg-type]
        source="a paper",
        provenance="D",
    )


@pytest.mark.parametrize(
    ("value", "tolerance", "outcome"),
    [
        (1.05, relative(1.0, 0.1, ""), "pass"),
        (1.2, relative(1.0, 0.1, ""), "fail"),
        (-1.05, relative(-1.0, 0.1, ""), "pass"),
        (0.0, absolute(0.0, 0.0, ""), "pass"),
        (3.0, at_most(2.9, ""), "fail"),
        (-inf, at_least(-1.0, ""), "fail"),
        (nan, at_least(-inf, ""), "fail"),
        (nan, None, "not asserted"),
    ],
)
def test_a_row_passes_inside_its_tolerance_and_never_on_nan(
    value: float, tolerance: object, outcome: str
) -> None:
    assert row(value, tolerance).outcome == outcome


def test_what_is_recalled_asserts_nothing() -> None:
    with pytest.raises(AssertionError, match="recalled"):
        replace(row(1.0, relative(1.0, 0.1, "")), provenance="R")
    assert replace(row(1.0, None), provenance="R").outcome == "not asserted"


def test_a_row_that_fails_and_says_what_was_found_still_fails() -> None:
    known = replace(row(2.0, relative(1.0, 0.1, "")), found="two")
    assert known.outcome == "fail" and not known.unexplained
    assert replace(known, found="").unexplained and not replace(known, measured=Measured(1.0)).unexplained


def test_intervals_are_students_and_wilsons() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0])
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert mean_of(values) == Measured(pytest.approx(3.5), pytest.approx(low), pytest.approx(high))
    expected = stats.binomtest(7, 40).proportion_ci(method="wilson")
    assert share_of(7, 40) == Measured(7 / 40, pytest.approx(expected.low), pytest.approx(expected.high))


def test_a_verdict_follows_from_its_conditions() -> None:
    assert decide(1, "", [("a", True), ("b", True)]).verdict == "supported"
    assert decide(1, "", [("a", False), ("b", False)]).verdict == "refuted"
    mixed = decide(1, "", [("a", True), ("b", False)])
    assert mixed.verdict == "it depends" and mixed.because == "holds: a; does not hold: b"


def test_files_read_back_as_what_was_measured(tmp_path: Path) -> None:
    timed = [
        reproduction.Timed(row(1 / 3, relative(1.0, 0.1, "because, of"), "first"), 0.25),
        reproduction.Timed(row(2.0, None, "second"), 0.0),
    ]
    paper = registry.PAPERS["lu-2019"]
    found = reproduction.Reproduction(paper, timed, [], [decide(3, "so", [("a", True)])], 1.0)
    paths = reproduction.write(found, tmp_path / "deep")
    assert [path.name for path in paths] == ["lu-2019.csv", "lu-2019-verdicts.csv"]
    first, second = csv.DictReader(paths[0].open(encoding="utf-8"))
    assert tuple(first) == COLUMNS
    assert float(first["measured"]) == 1 / 3 and first["outcome"] == "fail" and first["seconds"] == "0.250"
    assert first["tolerance"] == "0.9 to 1.1: because, of" and first["provenance"] == "D"
    assert second["outcome"] == "not asserted" and second["tolerance"] == ""
    (verdict,) = csv.DictReader(paths[1].open(encoding="utf-8"))
    assert verdict["verdict"] == "supported" and verdict["claim"] == "3"


def test_exact_numbers_have_no_interval() -> None:
    assert np.isnan([exactly(1.0).low, exactly(1.0).high]).all()


def test_unknown_results_are_named_all_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        registry.find(["lu-2019", "lu-2018", "nobody"])
    assert len(error.value.problems) == 2 and "lu-2019" in str(error.value)
    assert [each.name for each in registry.find(["lu-2019", "he-2015", "lu-2019"])] == ["lu-2019", "he-2015"]


def test_results_are_the_modules_with_a_paper_and_what_is_read_is_what_they_hold() -> None:
    files = Path(registry.__file__).parent.glob("*.py")
    read = {file.stem: paper for file in files if (paper := registry.paper_of(file))}
    assert {paper.module for paper in registry.PAPERS.values()} == {f"gradlab.papers.{stem}" for stem in read}
    for stem in ("lu_2019", "hayou_2019", "activations_article"):
        assert read[stem] == import_module(f"gradlab.papers.{stem}").PAPER
    assert not {"registry", "rows", "article_shapes"} & set(read)
    orders = [paper.order for paper in registry.PAPERS.values()]
    assert orders == sorted(set(orders)), "each has a place of its own"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('PAPER = Paper("a-paper", "title", "nobody")', "given by keyword"),
        ('PAPER = "Nobody 1900"', "given by keyword"),
        ('PAPER = Paper(name="a-paper", title=TITLE, citation="nobody")', "malformed"),
        ('PAPER = Paper(name="another", title="title", citation="nobody")', "called 'another'"),
    ],
)
def test_a_paper_that_cannot_be_read_from_its_text_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a_paper.py").write_text(f"TITLE = 'title'\n{text}\n")
    with pytest.raises(ValueError, match=said):
        registry.paper_of(tmp_path / "a_paper.py")


def test_an_ensemble_is_independent_nets_of_the_right_moments_and_repeats_itself() -> None:
    phi = activations.get("relu")
    shape = {"depth": 2, "width": 6, "features": 4, "outputs": 3, "nets": 4_000}
    init = inits.get("gaussian:sigma_w=1.5:sigma_b=0.3", phi)
    mlp, again, other = (build_ensemble(activation=phi, init=init, seed=seed, **shape) for seed in (0, 0, 1))
    for layer, (fan_in, fan_out) in zip(mlp.linears, [(4, 6), (6, 6), (6, 3)], strict=True):
        assert layer.weight.shape == (4_000, fan_in, fan_out) and layer.bias.shape == (4_000, 1, fan_out)
        noise = 4 / np.sqrt(2 * layer.weight.numel())
        assert layer.weight.var().item() == pytest.approx(2.25 / fan_in, rel=2 * noise)
        assert layer.bias.std().item() == pytest.approx(0.3, rel=4 / np.sqrt(2 * layer.bias.numel()))
    weights = mlp.linears[1].weight.detach().flatten(1)
    correlation = torch.corrcoef(weights[:50])[~torch.eye(50, dtype=torch.bool)]
    assert correlation.abs().max() < 5 / np.sqrt(36) and weights.unique().numel() > 0.99 * weights.numel()
    for one, two, three in zip(mlp.linears, again.linears, other.linears, strict=True):
        assert torch.equal(one.weight, two.weight) and not torch.equal(one.weight, three.weight)


def test_an_ensemble_of_orthogonal_nets_is_orthogonal() -> None:
    phi = activations.get("linear")
    mlp = build_ensemble(
        activation=phi,
        init=inits.get("orthogonal", phi),
        depth=1,
        width=5,
        features=5,
        outputs=2,
        nets=7,
        seed=3,
        dtype=torch.float64,
    )
    weight = mlp.linears[0].weight.detach()
    torch.testing.assert_close(weight @ weight.mT, torch.eye(5, dtype=torch.float64).expand(7, -1, -1))
