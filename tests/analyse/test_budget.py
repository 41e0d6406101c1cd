"""Who loses or gains the gradient: the decades of a verdict on its way down are those of the table's gains."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradlab
from gradlab.analyse import diagnose
from gradlab.analyse.budget import in_words
from gradlab.analyse.summary import summarise


def finding(layers: pd.DataFrame, steps: pd.DataFrame | None, verdict: str):  # type: ignore[no-untyped-def]
    (found,) = diagnose(layers, steps)
    return next(each for each in found.findings if each.verdict == verdict), found


def with_gains(cell, weights: float, slopes: float, norms: float = np.nan, rest: float = np.nan, **more):  # type: ignore[no-untyped-def]
    """A cell of ten layers whose parts change delta by these factors in every layer."""
    decay = float(np.nanprod([weights, slopes, norms, rest]))
    gains = {"weight_gain": weights, "slope_gain": slopes, "norm_gain": norms, "other_gain": rest}
    return cell(decay=decay, learns=False, layers_more=gains, **more)


def test_the_default_deep_sigmoid_loses_its_gradient_in_the_slopes(tmp_path) -> None:  # type: ignore[no-untyped-def]
    result = gradlab.run(activation="sigmoid", depth=20, steps=0, out=str(tmp_path / "run"))
    found, diagnosis = finding(result.layers, result.steps, "vanishing")
    assert found.budget["slopes"] == pytest.approx(-12.0, abs=0.2), "19 layers of phi' = 0.235 lose 11.9"
    assert abs(found.budget["weights"]) < 0.3 and set(found.budget) == {"weights", "slopes"}
    assert "slopes lose 11.9 decades, weights 0.1" in found.evidence
    assert "weights multiplied by" not in found.evidence
    row = result.summary.iloc[0]
    assert row["attenuation_slopes_mean"] == pytest.approx(found.budget["slopes"])
    parts = row[["attenuation_weights_mean", "attenuation_slopes_mean"]].sum()
    assert parts == pytest.approx(row["attenuation_mean"], abs=1e-9)
    assert np.isnan(row["attenuation_norms_mean"]) and np.isnan(row["attenuation_rest_mean"])
    said = json.loads(json.dumps(diagnosis.as_dict()))["findings"][0]["budget"]
    assert said == pytest.approx(dict(found.budget))


def test_the_numbers_are_those_of_the_table_and_each_part_has_its_own(cell) -> None:  # type: ignore[no-untyped-def]
    layers, steps = with_gains(cell, weights=0.8, slopes=0.5, norms=1.3, rest=0.9)
    found, _ = finding(layers, steps, "vanishing")
    expected = {"weights": 0.8, "slopes": 0.5, "norms": 1.3, "rest": 0.9}
    assert found.budget == pytest.approx({part: 9 * np.log10(gain) for part, gain in expected.items()})
    assert "slopes lose 2.7 decades, norms gain 1.0, weights lose 0.9, the rest loses 0.4" in found.evidence
    row = summarise(layers, steps).iloc[0]
    assert row["attenuation_norms_mean"] == pytest.approx(9 * np.log10(1.3))
    assert row["attenuation_rest_mean"] == pytest.approx(9 * np.log10(0.9))


def test_layers_whose_parts_nobody_knows_are_told_apart(cell) -> None:  # type: ignore[no-untyped-def]
    def forget(layers: pd.DataFrame, steps: pd.DataFrame) -> None:
        layers.loc[layers["layer"] > 6, ["weight_gain", "slope_gain"]] = np.nan

    layers, steps = with_gains(cell, weights=0.5, slopes=1.0, change=forget)
    found, _ = finding(layers, steps, "vanishing")
    assert found.budget == pytest.approx(
        {"weights": 6 * np.log10(0.5), "slopes": 0.0, "unknown": 3 * np.log10(0.5)}
    )
    assert "weights lose 1.8 decades, layers of unknown parts 0.9" in found.evidence
    older, steps = cell(decay=0.5, learns=False)
    found, _ = finding(older, steps, "vanishing")
    assert found.budget == {} and "lose" not in found.evidence, "a table without these columns says nothing"


@pytest.mark.parametrize(("activation", "said"), [("tanh", "1.67"), ("relu", "2.38"), ("sigmoid", "1.67")])
def test_the_weights_are_told_by_how_much_they_are_too_small(cell, activation: str, said: str) -> None:  # type: ignore[no-untyped-def]
    """1 / 0.6; where larger weights leave the slopes as they are they make up for these too: 1 / (0.6 * 0.7)."""
    layers, steps = with_gains(cell, weights=0.6, slopes=0.7, activation=activation)
    found, _ = finding(layers, steps, "vanishing")
    assert f"weights multiplied by {said} would keep its size" in found.evidence


def test_a_relu_net_whose_slopes_lose_needs_larger_weights_and_one_with_norms_hears_of_none(cell) -> None:  # type: ignore[no-untyped-def]
    layers, steps = with_gains(cell, weights=1.0, slopes=0.5, activation="relu")
    assert "weights multiplied by 2 would" in finding(layers, steps, "vanishing")[0].evidence
    layers, steps = with_gains(cell, weights=1.0, slopes=0.5, norms=0.9, activation="relu")
    assert "multiplied" not in finding(layers, steps, "vanishing")[0].evidence, "a norm would undo it"
    layers, steps = with_gains(cell, weights=3.0, slopes=0.7, activation="relu")
    found, _ = finding(layers, steps, "exploding")
    assert "weights gain 4.3 decades, slopes lose 1.4" in found.evidence
    assert "weights multiplied by 0.476 would" in found.evidence


def test_he_relu_behind_a_growing_norm_blames_the_norm(cell) -> None:  # type: ignore[no-untyped-def]
    """Weights gain what the slopes lose: neither of them is the cause."""
    layers, steps = with_gains(cell, weights=2**0.5, slopes=0.5**0.5, norms=1.8, activation="relu")
    found, _ = finding(layers, steps, "exploding")
    assert "multiplied" not in found.evidence and "norms gain 2.3 decades" in found.evidence


def test_applying_the_number_keeps_the_gradients_size() -> None:
    """What the evidence says of a plain ReLU net of torch's own initialiser is true of the next net."""
    result = gradlab.run(activation="relu", depth=20, width=256, init="torch", steps=0)
    found, _ = finding(result.layers, result.steps, "vanishing")
    factor = float(found.evidence.split("weights multiplied by ")[1].split()[0])
    again = gradlab.run(
        activation="relu",
        depth=20,
        width=256,
        init=f"gaussian:sigma_w={factor * (1 / 3) ** 0.5:.4f}",
        steps=0,
    )
    assert abs(again.summary["attenuation_mean"].iloc[0]) < 0.6, (
        "sqrt(5 * 20 / 256) / 4.6 scatter, three times"
    )


def test_the_recorder_says_it_too_with_the_number_in_its_advice() -> None:
    torch.manual_seed(0)
    hidden = [part for _ in range(15) for part in (nn.Linear(64, 64), nn.Tanh())]
    model = nn.Sequential(*hidden, nn.Linear(64, 4))
    with torch.no_grad():
        for each in model[:-1:2]:
            nn.init.normal_(each.weight, std=0.5 / 8)
    x, y = torch.randn(64, 64), torch.arange(64) % 4
    with gradlab.Recorder(model, probe=x, targets=y, criterion=F.cross_entropy) as recorder:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        recorder.step(loss=loss)
    found = recorder.diagnose()
    vanishing = next(each for each in found.findings if each.verdict == "vanishing")
    assert vanishing.budget["weights"] == pytest.approx(14 * np.log10(0.5), abs=0.5)
    assert "weights lose" in vanishing.evidence and "weights multiplied by" in recorder.report()
    weights = next(cure for cure in found.cures if cure.do == "initial-weights")
    assert weights.reason.startswith("weights multiplied by") and "the gradient's size" in weights.reason


def test_norms_that_gain_the_gradient_are_named_where_they_gain_most() -> None:
    """He's weights gain what ReLU's slopes lose, and batch norm adds a factor a layer (Yang et al. 2019)."""
    torch.manual_seed(0)
    hidden = [part for _ in range(40) for part in (nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU())]
    model = nn.Sequential(*hidden, nn.Linear(32, 4))
    for each in model[:-1:3]:
        nn.init.kaiming_normal_(each.weight)
    x, y = torch.randn(64, 32), torch.arange(64) % 4
    with gradlab.Recorder(model, probe=x, targets=y, criterion=F.cross_entropy) as recorder:
        F.cross_entropy(model(x), y).backward()
        recorder.step()
    found = recorder.diagnose()
    exploding = next(each for each in found.findings if each.verdict == "exploding")
    rows = recorder.to_frame()
    rows = rows[rows["layer"] < rows["layer"].max() - 1]
    assert exploding.budget["norms"] == pytest.approx(np.log10(rows["norm_gain"].dropna()).sum())
    assert "multiplied by" not in exploding.evidence
    cure = next(cure for cure in found.cures if "block(norm(x))" in cure.code)
    place = rows.loc[np.log10(rows["norm_gain"]).abs().idxmax()]
    assert cure.reason.startswith("the norms gain") and cure.reason.endswith(f"and {place['name']}")


def test_words() -> None:
    assert in_words({"weights": -0.2, "slopes": -12.0}, False) == "slopes lose 12.0 decades, weights 0.2"
    assert in_words({"weights": 3.0, "rest": -1.0, "norms": 0.01}, True) == (
        "weights gain 3.0 decades, skip connections lose 1.0"
    )
    assert in_words({"weights": np.nan, "slopes": -np.inf}, False) == "slopes lose all"
    assert in_words({}, False) == ""
