"""What happened, in one sentence: right in number and word for every verdict, of one cell and of many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradlab.analyse.headline import headline, of_cell, times
from gradlab.analyse.verdicts import WORDS


def row(activation: str = "sigmoid", depth: int = 20, **more: Any) -> dict[str, Any]:
    return {
        "cell": f"{activation}{depth}",
        "activation": activation,
        "depth": depth,
        "seeds": 3,
        "val_accuracy_mean": 0.1,
        "val_r2_mean": np.nan,
        "attenuation_mean": -12.0816,
        "verdict": "vanishing,not-learning",
        "verdict_seeds": "3/3,3/3",
    } | more


def healthy(activation: str, depth: int = 20, decades: float = 0.0, accuracy: float = 0.93) -> dict[str, Any]:
    more = {
        "attenuation_mean": decades,
        "val_accuracy_mean": accuracy,
        "verdict": "healthy",
        "verdict_seeds": "3/3",
    }
    return row(activation, depth, **more)


@pytest.mark.parametrize(
    ("decades", "text"),
    [
        (0.0, "1"),
        (-0.9734, "9.4"),
        (-2.54, "347"),
        (3.4, "2,512"),
        (6.1, "1.3 million"),
        (-12.0816, "1.2 trillion"),
        (-14.99, "977 trillion"),
        (-31.5, "3.2 × 10^31"),
        (-400.0, "1.0 × 10^400"),
    ],
)
def test_a_factor_is_said_as_people_say_it(decades: float, text: str) -> None:
    assert times(decades) == text


def test_a_factor_that_rounds_up_to_the_next_name_is_still_a_number() -> None:
    for decades in np.linspace(0, 40, 4001):
        head, _, tail = times(float(decades)).partition(" × 10^")
        scale = {"million": 6, "billion": 9, "trillion": 12}
        number, _, name = head.replace(",", "").partition(" ")
        said = np.log10(float(number)) + scale.get(name, 0) + (int(tail) if tail else 0)
        assert said == pytest.approx(decades, abs=0.025), "two digits"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (row(), "The gradient dies: layer 1 gets 1.2 trillion times less than layer 20"),
        (row(attenuation_mean=-np.inf), "The gradient dies: nothing reaches layer 1"),
        (row(attenuation_mean=-0.1), "The gradient dies"),  # through the steps of a recurrent layer
        (row(verdict="exploding", attenuation_mean=3.4), "The gradient explodes: layer 1 gets 2,512 times more than "
         "layer 20"),
        (row(depth=1, verdict="exploding"), "The gradient explodes"),
        (row(verdict="not-learning", attenuation_mean=0.2), "The net does not learn, though the gradient arrives: "
         "validation accuracy 0.10"),
        (row(verdict="unstable", verdict_seeds="1/3", val_accuracy_mean=0.6), "The training is unstable: 1 of 3 seeds "
         "fails to learn or to keep it, validation accuracy 0.60 on average"),
        (healthy("relu", decades=-0.175), "The gradient survives: layer 1 gets 1.5 times less than layer 20, and the "
         "net learns (validation accuracy 0.93)"),
        (healthy("relu", decades=-3.0), "The net learns (validation accuracy 0.93), though layer 1 gets 1,000 times "
         "less than layer 20"),
        (healthy("relu", decades=0.01), "The gradient survives: layer 1 gets about as much as layer 20, and the net "
         "learns (validation accuracy 0.93)"),
        (healthy("relu", depth=1), "The net learns (validation accuracy 0.93)"),
        (row(verdict=""), "Nothing was recorded that could be judged"),
        (row(verdict="of my own"), "The verdict is of my own"),
    ],
)  # fmt: skip
def test_a_cell_in_one_sentence(cell: dict[str, Any], text: str) -> None:
    assert of_cell(cell) == text == headline(pd.DataFrame([cell]))


@pytest.mark.parametrize("name", WORDS)
def test_every_verdict_has_words_that_need_no_knowledge(name: str) -> None:
    said = of_cell(row(verdict=name))
    assert WORDS[name].headline and said[0].isupper() and not said.endswith(".") and "nan" not in said


def test_a_comparison_says_who_survives_and_how_deep() -> None:
    others = ("relu", "tanh", "elu", "selu")
    cells = [row(depth=5), row(), row("hard_sigmoid"), *(healthy(name, 20) for name in others)]
    said = headline(pd.DataFrame(cells))
    assert said == "sigmoid and hard_sigmoid vanish; relu, tanh and 2 others survive to depth 20"


def test_one_that_dies_on_the_way_says_from_which_depth() -> None:
    cells = [healthy("tanh", 5), row("tanh", 20), row("tanh", 50), healthy("relu", 5), healthy("relu", 50)]
    assert headline(pd.DataFrame(cells)) == "tanh vanishes from depth 20; relu survives to depth 50"


def test_all_alike_and_one_alone() -> None:
    assert headline(pd.DataFrame([row(), row("erf")])) == "All 2 vanish"
    assert headline(pd.DataFrame([row(depth=5), row()])) == "sigmoid vanishes at every depth"
    assert headline(pd.DataFrame([healthy("relu", 5), healthy("relu", 20)])) == "relu survives to depth 20"


def test_other_differences_are_named() -> None:
    cells = [healthy("relu") | {"init": "he"}, row("relu", init="lecun", cell="b")]
    frame = pd.DataFrame(cells)[["cell", "activation", "depth", "init", *list(row())[3:]]]
    assert headline(frame) == "init lecun vanishes; init he survives"


def test_a_gradient_that_arrives_survives_though_the_net_does_not_learn() -> None:
    cells = [row("relu", verdict="unstable", verdict_seeds="1/3", attenuation_mean=-0.2), row()]
    assert headline(pd.DataFrame(cells)) == "sigmoid vanishes; relu survives"
