"""What the first screen says: its numbers are those of the tables, its command is whole, its looks are one a net."""

import re
import shlex
import tomllib
from math import log10
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_results import Made, attention_table, delta, make, own_model, time_table

from gradlab.analyse import headline
from gradlab.cli.main import main
from gradlab.report import (
    explained,
    explorer,
    figures,
    first_screen,
    first_screen_of_cell,
    first_screen_of_cells,
    page_data,
    palette,
    pictures,
    selections,
    try_command,
)
from gradlab.report.selections import Tables
from gradlab.tables.score import ACCURACY, R2

ROOT = Path(__file__).parents[2]


def tables(made: Made) -> Tables:
    return Tables(layers=made.layers, steps=made.steps, summary=made.summary)


def test_the_headlines_factor_the_way_down_and_the_factor_a_layer_are_one_kind_of_mean() -> None:
    """With seeds 1, 1.02 and 1.08 times as large the mean of factors and that of logarithms part in depth 2."""
    made = make(("tanh",), (2,))
    per_seed = np.array([0.5, 1.0, 3.0])
    hidden = made.layers["layer"] == 1
    made.layers.loc[hidden, "delta_rms"] = [
        per_seed[int(seed)] * delta("tanh", 2, 2, int(seed), int(step))
        for seed, step in zip(made.layers.loc[hidden, "seed"], made.layers.loc[hidden, "step"], strict=True)
    ]
    data = tables(made)
    way = first_screen.way_of(data)
    assert way is not None
    rows = explained.first_record(explained.hidden_of(data))
    mean, low, high = explained.factor_a_layer(rows)
    geometric = float(np.exp(np.log(per_seed).mean()))
    assert (mean, low, high) == pytest.approx((geometric, 0.5, 3.0))
    assert 10**way.decades == pytest.approx(geometric), "one layer apart the total is the factor"
    assert geometric < per_seed.mean() - 0.3, "the mean of factors says something else"


def test_the_budget_is_the_summarys_and_adds_up_to_the_attenuation() -> None:
    made = make(("tanh",), (4,))
    spent = {"weights": 3 * log10(0.7 / 0.6), "slopes": 3 * log10(0.6), "norms": np.nan, "rest": np.nan}
    for part, decades in spent.items():
        made.summary[f"attenuation_{part}_mean"] = decades
    found = explained.budget_of(tables(made))
    assert found is not None and set(found.parts) == {"weights", "slopes"}
    assert found.slope == pytest.approx(0.6) and found.steps == 3
    assert sum(found.parts.values()) == pytest.approx(3 * log10(0.7)) == pytest.approx(found.total)
    said = first_screen_of_cell.budget_words(found, "tanh")
    assert "here 0.6 (rms)" in said and "3 such steps leave 10^-0.7" in said
    made.summary["attenuation_norms_mean"] = 0.4
    found = explained.budget_of(tables(made))
    assert found is not None
    assert first_screen_of_cell.budget_words(found, "tanh").endswith(
        "slopes lose 0.7 decades (factors of 10), norms gain 0.4, weights 0.2."
    )


def test_z_lies_where_the_layers_say() -> None:
    made = make(("tanh",), (2,), seeds=1)
    made.layers["z_mean"] = np.where(made.layers["layer"] == 1, -1.0, 2.0)
    made.layers["z_std"] = np.where(made.layers["layer"] == 1, 0.5, 1.0)
    found = explained.z_density(tables(made))
    assert found is not None
    at, density, _ = found
    gap = at[1] - at[0]
    assert density.sum() * gap == pytest.approx(1, abs=1e-3)
    assert (at * density).sum() * gap == pytest.approx(0.5, abs=1e-2), "the readout's z is none of them"


CONFIG = '[network]\nwidth = 16\n[data]\nname = "moons"\n[training]\nsteps = 2\nlr = 0.5\n[run]\nseeds = 2\n'


def test_the_advice_is_a_command_that_trains_the_cell_with_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"activation": "sigmoid", "depth": 3, "width": 16, "init": "auto", "lr": 0.5, "dataset": "moons",
           "advice": "try --activation relu --init he: the slope is 1"}  # fmt: skip
    command, reason = try_command.advised(row, CONFIG)
    assert reason == "the slope is 1"
    assert main([*shlex.split(command)[1:], "--quiet", "--out", "again"]) == 0
    made = tomllib.loads((tmp_path / "again" / "config.toml").read_text())
    assert (made["network"]["activation"], made["network"]["init"]) == ("relu", "he")
    assert (made["network"]["depth"], made["network"]["width"], made["data"]["name"]) == (3, 16, "moons")
    assert (made["training"]["lr"], made["training"]["steps"], made["run"]["seeds"]) == (0.5, 2, 2)


def test_advice_for_a_model_of_ones_own_is_code_with_its_reason() -> None:
    row = {"init": "own", "advice": "the steps are too large: optimizer.lr = 0.01"}
    assert try_command.advised(row, "") == ("optimizer.lr = 0.01", "the steps are too large")


def test_every_activation_has_one_look_and_no_two_lines_share_one() -> None:
    names = {name: name for name in ("relu", "sigmoid", "tanh")}
    assert palette.looks(names) == {name: palette.HOMES.index(name) for name in names}
    alone = palette.looks({"tanh": "tanh"})["tanh"]
    many = palette.looks({f"relu, init {n}": "relu" for n in range(9)} | {"tanh": "tanh"})
    assert many["tanh"] == alone and len(set(many.values())) == 10
    first_eight = palette.looks({f"mine:{n}": f"mine:{n}" for n in range(8)}).values()
    assert len({place % len(palette.LIGHT.series) for place in first_eight}) == 8, "a free colour first"


def test_an_interval_of_a_score_ends_at_what_the_score_can_be() -> None:
    assert ACCURACY.interval(0.606, 0.7) == (0.0, 1.0) and ACCURACY.leaves(0.606, 0.7)
    assert ACCURACY.interval(0.5, 0.1) == (0.4, 0.6) and not ACCURACY.leaves(0.5, 0.1)
    assert R2.interval(-3.0, 1.0) == (-4.0, -2.0) and R2.interval(0.9, 0.3)[1] == 1.0
    assert not ACCURACY.leaves(0.5, float("nan"))


def test_a_cell_that_these_seeds_do_not_tell_from_the_best_is_not_distinguishable() -> None:
    from gradlab.report import html

    made = make(("tanh",), (5, 6))
    table = html.ranking_table(tables(made))
    words = {field.text for row in table["rows"] for field in row["fields"]}
    assert words & {"not distinguishable with 3 seeds", "behind"} and "tied" not in words


def test_a_first_screen_of_many_answers_its_five_questions() -> None:
    made = make(("sigmoid", "relu", "tanh"), (5, 20))
    screen = first_screen_of_cells.of_cells(tables(made), ["[training]\nsteps = 1000\n"], {})
    assert screen.headline == "sigmoid vanishes from depth 20; relu and tanh survive to depth 20"
    assert [fact.name for fact in screen.facts][:3] == ["Compared", "How sure", "Why"]
    assert screen.command.startswith("gradlab run --activation ") and "--depth 20" in screen.command
    assert screen.matrix["rows"][0]["name"] == "sigmoid", "the weakest first"
    shown = selections.labels(made.summary)
    assert len(screen.matrix["rows"]) * len(screen.matrix["depths"]) == len(shown)


def test_the_explorer_is_what_the_generator_makes() -> None:
    made = explorer.page()
    for place in (
        "docs/explorer.html",
        "gradlab/report/templates/explorer.html",
    ):  # the one leads to the other
        assert (ROOT / place).read_text(encoding="utf-8") == made, "python -m gradlab.report.explorer"
    assert "://" not in made.replace("http://www.w3.org", "")


def test_a_table_read_from_elsewhere_has_a_first_screen() -> None:
    made = make(("my.module:phi",), (3,), seeds=1)
    data = Tables(layers=made.layers, steps=made.steps[:0], summary=made.summary.assign(advice=np.nan))
    screen = first_screen_of_cell.of_cell(data, "", None)
    assert screen.headline and isinstance(data.summary, pd.DataFrame)


def test_the_last_layer_of_a_users_model_is_its_readout_and_no_part_of_the_way_down() -> None:
    made = make(("net:make",), (6,), init="own", norm="own", residual="own")
    made.layers["name"] = [f"net.{2 * layer}" for layer in made.layers["layer"]]
    data = tables(made)
    way = first_screen.way_of(data)
    assert way is not None and list(way.layers) == [1, 2, 3, 4, 5, 6]
    assert way.decades == pytest.approx(headline.decades_of(made.summary.iloc[0].to_dict()), abs=1e-9)
    made.layers.loc[made.layers["layer"] == 4, "delta_rms"] = np.nan  # a module without a call of its own
    made.layers.loc[made.layers["layer"] == 4, "nonfinite"] = 0
    past = first_screen.way_of(tables(made))
    assert past is not None and list(past.layers) == [1, 2, 3, 5, 6], "the line goes on past it"


@pytest.mark.parametrize(
    "profile", [np.linspace(-13, -1, 20), np.linspace(-1, -13, 20), np.geomspace(-9, -1, 5)]
)
def test_no_line_runs_through_the_words_of_the_hero(profile: np.ndarray) -> None:
    nothing = np.full(len(profile), np.nan)
    way = pictures.Way(np.arange(1.0, len(profile) + 1), profile, profile, profile, nothing, 1)
    for wide in (True, False):
        drawing = pictures.way_down(way, 1, wide)
        said = next(part for part in drawing.parts if " times " in part)
        left, baseline = (float(re.search(rf'{axis}="([\d.]+)"', said)[1]) for axis in "xy")  # type: ignore[index]
        line = next(part for part in drawing.parts if 'class="ln"' in part)
        points = np.array([[*map(float, pair)] for pair in re.findall(r"([\d.]+) ([\d.]+)", line)])
        words = re.search(r">(.*)<", said)
        assert words is not None
        across = np.linspace(left, left + 8 * len(words[1]), 50)
        heights = np.interp(across, *points.T, left=np.nan, right=np.nan)
        assert not ((heights > baseline - 12) & (heights < baseline + 17)).any()
        assert left + 8 * len(words[1]) <= drawing.width + 8


def test_a_gradient_that_dies_through_time_is_said_and_drawn_so_with_one_number() -> None:
    made = own_model(seeds=2)
    made.summary[["verdict", "verdict_seeds"]] = "vanishing", "2/2"
    time = time_table(made)
    data = Tables(layers=made.layers, steps=made.steps, summary=made.summary, time=time)
    decades = np.mean([8 * log10(0.2), 8 * log10(0.4)])
    said = headline.headline(data.summary, time)
    assert (
        said
        == f"The gradient dies through time: in rnn.l0 step 1 gets {headline.times(decades)} times less than step 9"
    )
    assert headline.headline(data.summary) == "The gradient dies", "nothing is recurrent"
    way = first_screen.time_way(data, "rnn.l0")
    assert way is not None and way.decades == pytest.approx(decades)
    sent = page_data.all_cells(data)[0][str(data.summary["cell"].iloc[0])]["time"]
    assert sent["names"] == ["rnn.l0", "rnn.l1"] and sent["at"] == list(range(1, 10))
    assert sent["m"][1][0][0] == round(1000 * log10(np.median([0.1**8, 0.2**8])))
    assert sent["m"][0][0][-1] == 0 and sent["theory"][0][0] == [None] * 9


def test_the_page_and_the_figure_draw_the_entropy_of_each_head() -> None:
    made = own_model()
    cell = made.summary["cell"].iloc[0]
    data = Tables(layers=made.layers, steps=made.steps, summary=made.summary, attention=attention_table(made))
    sent = page_data.all_cells(data)[0][str(cell)]["attention"]
    assert sent["names"] == ["a", "b"] and sent["steps"] == [0, 10]
    assert sent["heads"][1] == [[210, 220], [410, 420], [610, 620]], (
        "thousandths of the median seed, a line a head"
    )
    drawn = figures.plot(data, "attention").axes
    assert [ax.get_title("left") for ax in drawn] == ["a", "b"]
    assert {line.get_label(): tuple(line.get_ydata()) for line in drawn[0].lines}["head 2"] == pytest.approx(
        (0.41, 0.42)
    )
