"""The terminal shows the numbers of the tables, in any width, encoding and size of net."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from synthetic_results import STEPS, Made, delta, make

from gradlab.report import html, selections, tables
from gradlab.report.glyphs import Glyphs, number, percent, power_of_ten
from gradlab.report.selections import against_best, shown_layers
from gradlab.report.summary_columns import MEASURES, measures_of
from gradlab.report.terminal import print_compare, print_run

GRID = make(("sigmoid", "relu", "tanh"), (5, 20))


def shown(renderer, outcome: Made, width: int = 80, encoding: str = "utf-8", **options: object) -> str:  # type: ignore[no-untyped-def]
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
    renderer(outcome, Console(file=stream, width=width, **options))
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 60, 80, 130, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "cp437", "ascii"])
def test_every_layer_has_its_median_delta_in_any_width_and_encoding(width: int, encoding: str) -> None:
    text = shown(print_run, make(), width, encoding)
    assert max(map(len, text.splitlines())) <= width
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    for layer in (1, 7, 20):
        for step in (0, STEPS[-1]):
            expected = float(np.median([delta("sigmoid", 20, layer, seed, step) for seed in range(3)]))
            assert number(expected) in rows[str(layer)].split()
    assert "vanishing, not-learning (3/3 seeds)" in re.sub(r"\s+", " ", text)
    assert "gradlab report results/made" in text and "layers.csv" in text


def test_bars_are_proportional_to_the_logarithm() -> None:
    text = shown(print_run, make(), 130)
    eighths = {}
    for line in text.splitlines():
        if match := re.match(r" *(\d+) ([█▏▎▍▌▋▊▉]+)", line):
            eighths[int(match[1])] = sum(8 if char == "█" else " ▏▎▍▌▋▊▉".index(char) for char in match[2])
    steps = np.diff([eighths[layer] for layer in sorted(eighths)])
    assert len(eighths) == 20 and steps.min() > 0
    assert steps.max() - steps.min() <= 1  # a constant factor a layer is a constant length a layer


def test_blocks_only_where_the_encoding_holds_them() -> None:
    assert "█" in shown(print_run, make(), encoding="utf-8")
    assert "#" in shown(print_run, make(), encoding="cp1252")
    assert "\x1b" not in shown(print_run, make())


def test_exact_zeros_and_infinities_are_said_and_have_no_bar() -> None:
    made = make()
    layers = made.layers.copy()
    layers.loc[layers["layer"] == 1, "delta_rms"] = 0.0
    layers.loc[layers["layer"] == 2, ["delta_rms", "nonfinite"]] = [np.nan, 7]
    rows = {
        line.split()[0]: line
        for line in shown(print_run, replace(made, layers=layers)).splitlines()
        if line.strip()
    }
    assert rows["1"].split()[1:3] == ["0", "0"]
    assert "inf" in rows["2"] and "!!" in rows["2"]


def test_a_diverged_run_says_nan_and_shares_that_do_not_apply_stay_empty() -> None:
    made = make()
    layers, steps, summary = made.layers.copy(), made.steps.copy(), made.summary.copy()
    last = layers["step"] == 1000
    layers.loc[last, ["delta_rms", "weight_grad_norm", "nonfinite"]] = [np.nan, np.nan, 9]
    steps.loc[steps["step"] == 1000, ["train_loss", "val_loss"]] = np.nan
    summary[["train_loss_mean", "train_loss_ci95"]] = np.nan
    text = shown(print_run, replace(made, layers=layers, steps=steps, summary=summary), 130)
    assert "training loss 2.31 → nan;" in text
    output = next(line for line in text.splitlines() if line.startswith("output"))
    assert "inf" in output and "100" not in output  # not a share of dead units


def test_a_deep_net_keeps_both_ends_and_says_what_it_left_out() -> None:
    text = shown(print_run, make(("tanh",), (200,)))
    rows = re.findall(r"^ *(output|\d+) .*(?:e-|0\.)", text, re.MULTILINE)
    assert rows[-1] == "1" and "200" in rows[:2] and len(rows) <= 24
    assert "of 201 layers shown" in text
    for count in (2, 21, 25, 26, 52, 201, 1001, 100_001):
        kept = shown_layers(count, 24)
        assert len(kept) <= 24 and {0, count - 2, count - 1} <= set(kept)


def test_names_of_a_users_modules_fit_too() -> None:
    made = make(depths=(4,))
    layers = made.layers.assign(name="encoder.0." + made.layers["name"].str.replace("hidden_", "linear"))
    text = shown(print_run, replace(made, layers=layers), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "3 .0.linear3" in text and "satur." in text, "the number that sentences name, and the module"


def test_one_layer_and_one_record_are_enough() -> None:
    text = shown(print_run, make(depths=(1,), steps=(0,)))
    assert "step 0" in text and "step 1000" not in text


def test_comparison_ranks_by_accuracy_and_names_every_cell() -> None:
    text = shown(print_compare, GRID)
    places = re.findall(r"^ *=?(\d) (sigmoid|relu|tanh) +(\d+) +(0\.\d+)", text, re.MULTILINE)
    assert [place for place, *_ in places] == list("123456")
    accuracies = [float(accuracy) for *_, accuracy in places]
    assert accuracies == sorted(accuracies, reverse=True)
    assert places[-1][1:3] == ("sigmoid", "20")
    assert "Best: sigmoid, depth 5" in text and "5 healthy; 1 vanishing + not-learning" in text


@pytest.mark.parametrize("width", [40, 80, 130])
def test_comparison_fits_its_width(width: int) -> None:
    made = make(("sigmoid", "leaky_relu:negative_slope=0.2"), (5, 200))
    lines = shown(print_compare, made, width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum("healthy" in line for line in lines) >= 2


def test_many_figures_are_one_entry_among_the_files() -> None:
    out = GRID.out
    files = (
        out / "layers.csv",
        out / "report.html",
        *(out / "figures" / f"{n}.png" for n in ("activations", "by_depth", *range(15))),
    )
    text = " ".join(shown(print_compare, replace(GRID, files=files), 200).split())
    assert (
        "written to results/made: layers.csv, report.html, figures/by_depth.png and 16 figures beside it"
        in text
    )
    assert "next: gradlab diagnose results/made" in text


def test_of_many_figures_the_one_is_named_that_is_shown_where_none_is() -> None:
    figures = tuple(GRID.out / "figures" / f"{name}.png" for name in ("activations", "ranking", "profiles"))
    text = " ".join(shown(print_compare, replace(GRID, files=figures), 200).split())
    assert "figures/profiles.png and 2 figures beside it" in text


def test_page_paper_and_terminal_show_the_same_numbers_under_the_heads_of_one_description() -> None:
    made = make(("tanh",), (5, 20))
    lines = shown(print_compare, made, 200).splitlines()
    heads = next(line for line in lines if "acc." in line).split()
    fields = next(line for line in lines if re.match(" *1 ", line)).split()
    paper = [line.strip("| ").split(" | ") for line in tables.markdown(made).splitlines() if "|" in line]
    page = html.ranking_table(made)  # type: ignore[arg-type]
    best = selections.rows_of(selections.ranking(made.summary))[0]
    shown_alone = [m for m in measures_of(made.summary) if not m.column.startswith("val_accuracy_ci")]
    for measure in shown_alone:
        assert fields[heads.index(measure.terminal)] == measure.on_terminal(best)
        at = [head for head, _ in page["heads"]].index(measure.page)
        assert page["rows"][0]["fields"][at].text.partition(" ± ")[0] == measure.on_page(best)
        if measure.paper:
            assert paper[2][paper[0].index(measure.paper)] == measure.in_paper(best)
    assert fields[heads.index("atten.")] == f"{best['attenuation_mean']:.1f}"
    assert paper[2][paper[0].index("accuracy")] == f"{best['val_accuracy_mean']:.3f} ± 0.004"


@pytest.mark.parametrize(
    ("mean", "half", "said"),
    [
        (-0.001, 0.1, ("0.00", "0.00 ± 0.10", "0.0")),
        (-np.inf, np.nan, ("−inf", "-inf", "-inf")),
        (np.nan, np.nan, ("", "", "")),
    ],
)
def test_a_number_is_said_without_a_negative_zero_and_not_at_all_where_there_is_none(
    mean: float, half: float, said: tuple[str, str, str]
) -> None:
    measure = next(measure for measure in MEASURES if measure.column == "attenuation_mean")
    row = {"attenuation_mean": mean, "attenuation_ci95": half}
    assert (measure.on_page(row), measure.in_paper(row), measure.on_terminal(row)) == said


def test_two_hundred_cells_do_not_fill_the_screen() -> None:
    text = shown(print_compare, make(("relu", "tanh"), tuple(range(2, 52)), seeds=1, steps=(0, 10)))
    assert len(text.splitlines()) < 100 and "40 cells between" in text


def test_text_of_the_user_is_neither_markup_nor_an_escape_sequence() -> None:
    made = make(("[red]x[/red]\x1b[2J",), (5,))
    text = shown(print_run, made, 130) + shown(print_compare, made, 130)
    assert "[red]x[/red]" in text and "\x1b" not in text


def test_numbers_and_shares_never_round_to_another_statement() -> None:
    assert [number(x) for x in (0.0, np.nan, np.inf, 1.234e-16, 0.123456)] == [
        "0",
        "",
        "inf",
        "1.2e-16",
        "0.123",
    ]
    assert [percent(x) for x in (0.0, 1e-4, 0.5, 0.9999, 1.0, np.nan)] == ["0", "<1", "50", "99", "100", ""]


def test_powers_of_ten_beyond_a_float() -> None:
    assert [power_of_ten(x) for x in (-15.92, -400.5, 0.0)] == ["1.2e-16", "3.2e-401", "1"]


def test_sparkline_marks_zeros_and_what_is_not_finite() -> None:
    assert Glyphs(True, "utf-8").spark([1e-4, 1e-2, 0.9, 0.0, np.inf], (-4, 0)) == "▁▅█0!"


def test_of_equal_cells_the_one_with_the_smaller_loss_is_the_best() -> None:
    made = make(("sigmoid", "relu"), (5,))
    summary = made.summary.assign(val_accuracy_mean=0.5, train_loss_mean=[0.9, 0.2])
    steps = made.steps.assign(val_accuracy=0.5)
    first, second = summary["cell"]
    assert against_best(replace(made, summary=summary, steps=steps)) == {second: "best", first: "tied"}
