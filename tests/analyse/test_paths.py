"""A gradient read along a path: the stream, a branch beside it, a head; closed branches; and one that fades."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gradlab.analyse import paths
from gradlab.analyse.diagnosis import diagnose
from gradlab.analyse.records_from_tables import split_cells
from gradlab.analyse.summary import summary_row

FAILS = {"end": 1.0}  # ends where the best constant output is
STREAM = ("stream", "", "")
NOT_KNOWN = ("", "", "")


def judged(tables):  # type: ignore[no-untyped-def]
    return diagnose(*tables, cell_columns=())[0]


def on(*words: tuple[str, str, str], delta=None, later=None):  # type: ignore[no-untyped-def]
    """Rows 1, 2 ... are on these paths and have these deltas, other ones from the second record on (`later`)."""

    def change(layers: pd.DataFrame, steps: pd.DataFrame) -> None:
        for number, texts in enumerate(words, start=1):
            here = layers["layer"] == number
            layers.loc[here, ["path", "into", "joins"]] = list(texts)
            for values, which in ((delta, here), (later, here & (layers["step"] > 0))):
                if values is not None:
                    layers.loc[which, "delta_rms"] = values[number - 1]

    return change


def branch(number: int, joins: str = "") -> tuple[str, str, str]:
    return (f"branch {number}", "stream" if joins else "", joins)


@pytest.mark.parametrize(
    ("words", "there", "wanted"),
    [
        ([NOT_KNOWN, NOT_KNOWN], [True, True], {"": [1, 1]}),
        ([STREAM, NOT_KNOWN], [True, True], {"": [1, 1]}),  # the graph is cut: one of them is on no path
        ([STREAM, NOT_KNOWN, STREAM], [True, False, True], {"stream": [1, 0, 1]}),  # it came later, or gets nothing
        ([STREAM, branch(1), branch(1, "added"), STREAM], [True] * 4,
         {"stream": [1, 0, 1, 1], "branch 1": [0, 1, 1, 0]}),
        ([STREAM, branch(1), branch(1, "scaled"), STREAM], [True] * 4,
         {"stream": [1, 0, 0, 1], "branch 1": [0, 1, 1, 0]}),
        ([STREAM, branch(1), branch(1, "transformed"), STREAM], [True] * 4,
         {"stream": [1, 0, 0, 1], "branch 1": [0, 1, 1, 0]}),
        ([STREAM, branch(1, "transformed"), branch(2, "transformed")], [True] * 3, {"stream": [1, 1, 1]}),
        ([STREAM, STREAM, ("branch 1", "branch 2", "added"), ("branch 2", "", "")], [True] * 4,
         {"stream": [1, 1, 0, 0], "branch 2": [0, 0, 1, 1]}),
        ([STREAM, STREAM, ("head 1", "", ""), ("head 1", "", ""), ("head 2", "", "")], [True] * 5,
         {"stream": [1, 1, 0, 0, 0], "head 1": [0, 0, 1, 1, 0]}),
    ],
)  # fmt: skip
def test_which_rows_are_read_together(words, there, wanted) -> None:  # type: ignore[no-untyped-def]
    found = paths.readings(*zip(*words, strict=True), np.array(there))
    assert {name: rows.astype(int).tolist() for name, rows in found.items()} == wanted


ENDS = [STREAM, branch(1), branch(1, "added"), STREAM]


@pytest.mark.parametrize(
    ("words", "delta", "learns", "named", "path"),
    [
        (
            ENDS,
            [1.0, 1e-9, 0.5, 0.1],
            False,
            True,
            "branch 1",
        ),  # inside of the branch, though the stream is well
        (ENDS, [1.0, 0.0, 0.5, 0.1], False, False, ""),  # closed: it ends in zeros
        (
            [branch(1), *ENDS[1:]],
            [0.0, 1e-9, 0.5, 0.1],
            False,
            True,
            "branch 1",
        ),  # closed at its lowest row alone
        (ENDS, [1.0, 6e-3, 0.5, 0.1], False, False, ""),  # less than two decades
        (ENDS, [1.0, 4e-3, 0.5, 0.1], False, True, "branch 1"),
        (ENDS, [1.0, 4e-3, 0.5, 0.1], True, False, ""),  # a net that learns despite it
        (ENDS, [1.0, 4e-6, 0.5, 0.1], True, True, "branch 1"),  # five decades: no rate serves both
        (ENDS, [1e-4, 0.5, 0.5, 0.1], False, True, ""),  # the stream itself
        ([STREAM, branch(1), branch(1, "scaled"), STREAM], [0.1, 0.0, 0.0, 0.1], False, False, ""),  # ReZero
        ([branch(1), branch(1, "scaled"), STREAM, STREAM], [1e-9, 1e-9, 0.1, 0.1], False, False, ""),
        ([NOT_KNOWN] * 4, [1e-9, 1e-9, 0.1, 0.1], False, True, ""),  # as before where nothing is known
    ],
)
def test_vanishing_is_that_of_a_path(own, words, delta, learns, named, path) -> None:  # type: ignore[no-untyped-def]
    found = judged(own(change=on(*words, delta=delta), **({} if learns else FAILS)))
    assert ("vanishing" in found.verdicts) == named
    if named:
        (fault,) = (each for each in found.findings if each.verdict == "vanishing")
        assert fault.path == path and (f"in {path}, delta" in fault.evidence if path else True)


def test_exploding_is_that_of_a_path(own) -> None:  # type: ignore[no-untyped-def]
    found = judged(own(change=on(*ENDS, delta=[1.0, 200.0, 0.5, 0.1]), **FAILS))
    (fault,) = (each for each in found.findings if each.verdict == "exploding")
    assert fault.path == "branch 1" and fault.name == "2"  # the branch's lower row
    assert "exploding" not in judged(own(change=on(*ENDS, delta=[1.0, 40.0, 0.5, 0.1]), **FAILS)).verdicts


@pytest.mark.parametrize(
    ("first", "later", "named"),
    [
        ([0.0, 0.0, 0.1, 0.1], [0.05, 0.05, 0.1, 0.1], False),  # LoRA on frozen weights: one update opens it
        ([0.0, 0.0, 0.1, 0.1], [0.0, 0.0, 0.1, 0.1], True),  # it never opens
        ([0.0, 0.0, 0.1, 0.1], [1e-4, 1e-4, 0.1, 0.1], True),  # it opens, and vanishes
    ],
)
def test_what_one_update_opens_is_judged_by_what_it_becomes(own, first, later, named) -> None:  # type: ignore[no-untyped-def]
    """Nothing is known of whether it learns: no loss was given."""

    def change(layers: pd.DataFrame, steps: pd.DataFrame) -> None:
        on(*[STREAM] * 4, delta=first, later=later)(layers, steps)
        for name in ("train_loss", "probe_loss"):
            del steps[name]

    assert ("vanishing" in judged(own(change=change)).verdicts) == named


def test_a_branch_is_judged_above_a_row_that_dies_later(own) -> None:  # type: ignore[no-untyped-def]
    words = [branch(1), *ENDS[1:]]
    change = on(*words, delta=[0.5, 0.5, 0.5, 0.1], later=[0.0, 1e-9, 0.5, 0.1])
    (fault,) = (each for each in judged(own(change=change, **FAILS)).findings if each.verdict == "vanishing")
    assert (fault.path, fault.layer, fault.at_birth) == ("branch 1", 2, False)


def test_the_fit_counts_the_rows_of_its_path(own) -> None:  # type: ignore[no-untyped-def]
    """The stream loses half at each of its rows, whatever stands between them."""
    layers, steps = own(change=on(*ENDS, delta=[0.025, 1e-3, 0.05, 0.1]))
    (records,) = split_cells(layers, steps, ())
    row = summary_row(records)
    assert row["decay_per_layer_mean"] == pytest.approx(0.5)
    assert row["attenuation_mean"] == pytest.approx(np.log10(0.25))
    assert "along the stream, delta shrinks 0.5 x a layer" in judged((layers, steps)).notes[0]


def test_an_attenuation_is_empty_where_layer_1_is_on_a_branch(own) -> None:  # type: ignore[no-untyped-def]
    words = [branch(1), branch(1, "scaled"), STREAM, STREAM]
    (records,) = split_cells(*own(change=on(*words)), ())
    assert np.isnan(summary_row(records)["attenuation_mean"])


# -- fading --------------------------------------------------------------------------------------------------

STEPS = (0, 10, 20, 40, 60, 80, 100)


def fading(own, left: float, *, end: float = 1.0, steps=STEPS, words=(STREAM,) * 4, more=None, probe=False):  # type: ignore[no-untyped-def]
    """Whether it is said of a net whose deltas are `left` of the first from the fourth record on, and whose loss goes
    from 1 to `end`. Nothing else is known of its task."""

    def change(layers: pd.DataFrame, table: pd.DataFrame) -> None:
        on(*words)(layers, table)
        layers.loc[layers["step"] >= steps[3], "delta_rms"] *= left
        table["train_loss"] = np.where(table["step"] >= steps[3], end, 1.0)
        table["probe_loss"] = table["train_loss"]
        if not probe:
            del table["probe_loss"]
        if more is not None:
            more(layers, table)

    return "fading" in judged(own(change=change, steps=steps)).verdicts


@pytest.mark.parametrize(
    ("left", "more", "named"),
    [
        (0.99e-3, {}, True),
        (1.01e-3, {}, False),
        (0.0, {}, True),
        (1e-4, {"end": 0.96}, True),  # the loss has not fallen
        (1e-4, {"end": 0.94}, False),  # it has
        (1e-4, {"end": 1.2}, True),
        (1e-4, {"end": 0.2, "probe": True}, False),  # it learns: its errors are small
        (1e-4, {"steps": (0, 10, 20, 40, 60, 80, 99)}, False),  # too few updates
        (1e-4, {"steps": (0, 10, 20, 60, 100)}, False),  # too few records to have a start and an end
    ],
)
def test_a_gradient_that_fades(own, left, more, named) -> None:  # type: ignore[no-untyped-def]
    assert fading(own, left, **more) == named


def test_one_layer_that_keeps_its_gradient_is_enough(own) -> None:  # type: ignore[no-untyped-def]
    def keep(number: int):  # type: ignore[no-untyped-def]
        def more(layers: pd.DataFrame, steps: pd.DataFrame) -> None:
            layers.loc[layers["layer"] == number, "delta_rms"] = 0.1

        return more

    words = [STREAM, branch(1), branch(1, "scaled"), STREAM]
    assert not fading(own, 1e-4, words=words, more=keep(1)) or judged_path(own, words, keep(1)) == "branch 1"
    assert judged_path(own, words, keep(2)) == ""  # the branch keeps its own, the stream does not


def judged_path(own, words, more) -> str | None:  # type: ignore[no-untyped-def]
    def change(layers: pd.DataFrame, table: pd.DataFrame) -> None:
        on(*words)(layers, table)
        layers.loc[layers["step"] >= STEPS[3], "delta_rms"] *= 1e-4
        table["train_loss"] = 1.0
        del table["probe_loss"]
        more(layers, table)

    found = [each for each in judged(own(change=change, steps=STEPS)).findings if each.verdict == "fading"]
    return found[0].path if found else None


@pytest.mark.parametrize("own_turn", [True, False])
def test_of_two_optimizers_only_what_has_a_turn_of_its_own_is_judged(own, own_turn) -> None:  # type: ignore[no-untyped-def]
    """A critic's rows have a delta in every record, and nobody knows whose loss each one has."""
    steps = (0, 1, 10, 11, 20, 21, 40, 41, 60, 61, 80, 81, 100, 101)

    def more(layers: pd.DataFrame, table: pd.DataFrame) -> None:
        table["optimizer_used"] = np.where(table["step"] % 2 == 0, "Adam", "Adam 2")
        if own_turn:
            layers.loc[layers["step"] % 2 == 0, "delta_rms"] = np.nan
        layers.loc[layers["step"] >= 40, "delta_rms"] = np.where(
            layers.loc[layers["step"] >= 40, "delta_rms"].isna(), np.nan, 1e-5
        )
        table["train_loss"] = np.where(table["step"] % 2 == 0, 0.9, 1.0)

    assert fading(own, 1.0, steps=steps, more=more) == own_turn


def test_a_dead_net_fades_for_a_reason_that_has_a_name(own) -> None:  # type: ignore[no-untyped-def]
    def more(layers: pd.DataFrame, steps: pd.DataFrame) -> None:
        late = layers["step"] >= STEPS[3]
        layers.loc[late & (layers["layer"] < 5), "delta_rms"] = 0.0
        layers.loc[late & (layers["layer"] == 4), ["dead_fraction", "batch_dead_fraction"]] = 1.0
        layers.loc[late & (layers["layer"] == 5), "delta_rms"] = 0.1

    assert not fading(own, 1.0, more=more)


# -- rank-collapse -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cosines", "attends", "end", "named"),
    [
        ([0.5, 0.9, 0.99, 0.99], True, 1.0, True),
        ([0.5, 0.9, 0.99, 0.9899], True, 1.0, False),  # the last one tells positions apart
        ([0.5, 0.9, 0.9899, 0.99], True, 1.0, True),
        ([0.9, 0.99, 0.99, 0.99], True, 1.0, True),
        ([0.91, 0.99, 0.99, 0.99], True, 1.0, False),  # they came in alike
        ([0.5, 0.9, 0.99, 0.99], True, 0.1, False),  # a net that learns may ask for one answer a sample
        ([0.5, 0.9, 0.99, 0.99], False, 1.0, False),  # nothing attends
    ],
)
def test_the_boundaries_of_a_rank_collapse(own, cosines, attends, end, named) -> None:  # type: ignore[no-untyped-def]
    layers, steps = own(end=end)
    layers["token_correlation"] = layers["layer"].map(dict(enumerate(cosines, start=1)))
    attention = pd.DataFrame(
        {"seed": 0, "step": steps["step"], "name": "a", "head": 1, "function": "softmax", "head_dim": 8, "keys": 9,
         "entropy": 0.9, "logit_max": 1.0}
    )  # fmt: skip
    found = diagnose(layers, steps, cell_columns=(), attention=attention if attends else None)[0]
    assert ("rank-collapse" in found.verdicts) == named
