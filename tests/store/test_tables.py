"""Tables read back as they were: every float, every empty field, every value that is not a number."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from gradlab.tables.cell import kinds_of
from gradlab.tables.csv_text import escaped
from gradlab.tables.layers import LAYERS
from gradlab.tables.table import Table, frame, join, of_rows, read_rows, write_csv, write_parquet

NUMBERS = some.floats(width=64)


def table(values: list[float], applies: list[bool], deaths: list[float]) -> Table:
    return Table(
        {
            "cell": np.full(len(values), "0123abc", dtype=object),
            "seed": np.arange(len(values)),
            "delta_rms": np.array(values, dtype=np.float64),
            "deaths": np.array(deaths, dtype=np.float64),
        },
        {"delta_rms": np.array(applies, dtype=bool)},
        LAYERS.kinds,
    )


@given(rows=some.lists(some.tuples(NUMBERS, some.booleans()), max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csv_reads_back_the_same_floats(rows: list[tuple[float, bool]], tmp_path: Path) -> None:
    values, applies = [value for value, _ in rows], [there for _, there in rows]
    write_csv(tmp_path / "t.csv", table(values, applies, [0.0] * len(rows)))
    found = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, dtype={"delta_rms": str})
    for text, value, there in zip(found["delta_rms"], values, applies, strict=True):
        if not there:
            assert text == ""
        elif math.isnan(value):
            assert text == "nan"
        else:
            assert float(text) == value and math.copysign(1, float(text)) == math.copysign(1, value)


def test_the_texts_of_a_csv(tmp_path: Path) -> None:
    """A value that does not exist is empty; one that is not a number says so; a count has no decimal point."""
    rows = table([0.1, 1e-320, np.nan, np.inf, -np.inf], [True] * 4 + [False], [3.0, 0.0, np.nan, 2.0, 1.0])
    write_csv(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_bytes() == (
        b"cell,seed,delta_rms,deaths\n"
        b"0123abc,0,0.1,3\n"
        b"0123abc,1,1e-320,0\n"
        b"0123abc,2,nan,nan\n"
        b"0123abc,3,inf,2\n"
        b"0123abc,4,,1\n"
    )


FIELD_TEXTS = some.text(some.characters(codec="utf-8"), max_size=4) | some.sampled_from(
    ['"', ",", "a\n", "\r"]
)


@given(
    numbers=some.lists(NUMBERS | some.sampled_from([0.0, -0.0, math.nan, math.inf, 1e16, 1e-5]), max_size=12),
    texts=some.lists(FIELD_TEXTS, min_size=12, max_size=12),
    applies=some.lists(some.booleans(), min_size=12, max_size=12),
)
@example(numbers=[0.0, -0.0, math.nan], texts=["a"] * 12, applies=[True] * 12)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_field_is_as_pythons_own_csv_writer_has_it(
    numbers: list[float], texts: list[str], applies: list[bool], tmp_path: Path
) -> None:
    """The reference writes value by value; here each distinct value of a column is written once."""
    numbers, texts, applies = numbers * 2, (texts * 2)[: 2 * len(numbers)], (applies * 2)[: 2 * len(numbers)]
    columns = {"activation": np.array(texts, dtype=object), "delta_rms": np.array(numbers, dtype=np.float64)}
    write_csv(tmp_path / "t.csv", Table(columns, {"delta_rms": np.array(applies, dtype=bool)}))
    expected = "activation,delta_rms\n"
    for text, number, there in zip(texts, numbers, applies, strict=True):
        reference = io.StringIO()  # with this line end it quotes carriage returns in every version of Python
        csv.writer(reference, lineterminator="\r\n").writerow([escaped(text), repr(number) if there else ""])
        expected += reference.getvalue().removesuffix("\r\n") + "\n"
    assert (tmp_path / "t.csv").read_bytes() == expected.encode()


def test_rows_become_columns_of_one_kind_each() -> None:
    rows = [{"a": 1, "b": 0.5, "c": "x", "d": None}, {"a": 2, "b": math.nan, "c": "y", "d": 0.9}]
    columns = of_rows(rows)
    assert [columns[name].dtype.kind for name in "abcd"] == ["i", "f", "O", "O"]
    assert columns["d"].tolist() == [None, 0.9]


def test_a_text_with_commas_quotes_and_lines_reads_back(tmp_path: Path) -> None:
    name = 'a,"b"\nφ'
    write_csv(tmp_path / "t.csv", Table({"activation": np.array([name], dtype=object)}, {}))
    assert read_rows(tmp_path / "t.csv", {"activation": "str"}) == [{"activation": name}]


def test_several_tables_stand_below_one_header(tmp_path: Path) -> None:
    first, second = table([1.0], [True], [0.0]), table([2.0, 3.0], [True, False], [0.0, 1.0])
    write_csv(tmp_path / "parts.csv", (part for part in (first, second)))
    write_csv(tmp_path / "whole.csv", join([first, second]))
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    empty = Table({name: np.empty(0) for name in first.columns}, {})
    pd.testing.assert_frame_equal(frame([empty, first, second]), join([first, second]).frame())
    assert list(frame([empty]).columns) == list(first.columns)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_come_back_as_numbers(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{ending}"
    write = write_csv if ending == "csv" else write_parquet
    write(path, table([0.1, np.inf, 5.0], [True, True, False], [3.0, 0.0, 1.0]))
    rows = read_rows(path, kinds_of(LAYERS))
    assert [row["deaths"] for row in rows] == [3, 0, 1]
    assert [row["delta_rms"] for row in rows[:2]] == [0.1, math.inf]
    assert math.isnan(rows[2]["delta_rms"])
    assert rows[0]["cell"] == "0123abc"


def test_parquet_tells_missing_from_not_a_number(tmp_path: Path) -> None:
    write_parquet(tmp_path / "t.parquet", table([np.nan, 2.0, 3.0], [True, True, False], [3.0, 0.0, 1.0]))
    found = pq.read_table(tmp_path / "t.parquet")
    delta = found["delta_rms"].to_pylist()
    assert math.isnan(delta[0]) and delta[1:] == [2.0, None]
    assert str(found.schema.field("deaths").type) == "int64"
