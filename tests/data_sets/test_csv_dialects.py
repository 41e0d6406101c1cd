"""CSV files as programs of all countries write them: read where that is said, and named where it is not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradlab import data
from gradlab.base.errors import ConfigError, DataError
from gradlab.data.dialect import Dialect, parse_dialect

ROWS = 40
DRAWN = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {"a": DRAWN.standard_normal(ROWS), "b": np.arange(ROWS) / 8, "kind": ["cat", "dog"] * (ROWS // 2)}
)


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def plain(folder: Path) -> data.Dataset:
    return data.load(write(folder / "plain.csv", FRAME.to_csv(index=False)), "kind")


def same(one: data.Dataset, other: data.Dataset) -> None:
    for name in ("x_train", "x_val", "y_train", "y_val"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.class_names == other.class_names


SEMICOLONS = FRAME.to_csv(index=False, sep=";", decimal=",")
WRITTEN = {
    "semicolons and decimal commas": (
        SEMICOLONS,
        "sep=;:decimal=,",
        "it is separated by ;, its numbers have decimal commas; --csv 'sep=;:decimal=,'",
    ),
    "semicolons": (FRAME.to_csv(index=False, sep=";"), "sep=;", "it is separated by ;; --csv 'sep=;'"),
    "tabs": (FRAME.to_csv(index=False, sep="\t"), "sep=tab", "it is separated by tabs; --csv sep=tab"),
    "bars": (FRAME.to_csv(index=False, sep="|"), "sep=|", "it is separated by |; --csv 'sep=|'"),
    "a comment": (
        "# made by hand, on Monday, for us\n" + FRAME.to_csv(index=False),
        "comment=#",
        "it has comments behind #; --csv 'comment=#'",
    ),
    "a comment, semicolons and decimal commas": (
        "% made by hand\n\n" + SEMICOLONS,
        "sep=;:decimal=,:comment=%",
        "--csv 'sep=;:decimal=,:comment=%'",
    ),
    "Excel's first line": (
        "\ufeffsep=;\r\n" + SEMICOLONS.replace("\n", "\r\n"),
        "decimal=,:sep=;",
        "decimal commas",
    ),
}


@pytest.mark.parametrize("kind", list(WRITTEN))
def test_a_file_written_otherwise_is_named_and_then_read(kind: str, tmp_path: Path) -> None:
    text, csv, says = WRITTEN[kind]
    path = write(tmp_path / "t.csv", text)
    with pytest.raises(DataError) as caught:
        data.load(path, "kind")
    assert says in str(caught.value)
    same(data.load(path, "kind", csv=csv), plain(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + FRAME.to_csv(index=False),
        "sep=,\n" + FRAME.to_csv(index=False),
        "\ufeffsep=;\r\n" + FRAME.to_csv(index=False, sep=";"),
        FRAME.to_csv(index=False).replace("\n", ",\n"),
        FRAME.to_csv(index=False).replace("\n", ",,,\n"),
        FRAME.to_csv(index=False).replace("\n", ",\n").replace("kind,", "kind", 1),
        FRAME.to_csv(index=False).replace("\n", "\n\n"),
    ],
)
def test_what_spreadsheets_add_needs_no_word(text: str, tmp_path: Path) -> None:
    same(data.load(write(tmp_path / "t.csv", text), "kind"), plain(tmp_path))


def test_a_column_without_a_name_that_is_not_empty_is_not_dropped(tmp_path: Path) -> None:
    lines = FRAME.to_csv(index=False).replace("\n", ",\n").splitlines()
    lines[-1] += "7"
    with pytest.raises(DataError, match="row 40 has 4 cells, the header names 3"):
        data.load(write(tmp_path / "t.csv", "\n".join(lines) + "\n"), "kind")
    many = [
        lines[0],
        *[line.removesuffix("7") for line in lines[1:]] * 4,
        lines[-1],
    ]  # beyond what is looked at
    with pytest.raises(DataError, match="row 161 has 4 cells, the header names 3"):
        data.load(write(tmp_path / "t.csv", "\n".join(many) + "\n"), "kind")


def test_words_for_missing_values_are_told(tmp_path: Path) -> None:
    labels = FRAME.assign(kind=["NA", "yes", "no", "?"] * (ROWS // 4))
    path = write(tmp_path / "t.csv", labels.to_csv(index=False))
    assert data.load(path, "kind").class_names == ("?", "NA", "no", "yes")
    with pytest.raises(DataError, match=r"row 1 of 40 has no class \(20 rows in all\)"):
        data.load(path, "kind", csv="na=NA|?")
    path = write(tmp_path / "r.csv", FRAME.assign(b=["NA", *FRAME["b"][1:].astype(str)]).to_csv(index=False))
    for csv in ("", "na=NA"):
        with pytest.raises(DataError, match="column 'b': row 1 of 40 is empty or NaN"):
            data.load(path, "kind", csv=csv)


def test_irregular_rows_are_told_in_our_words(tmp_path: Path) -> None:
    lines = FRAME.to_csv(index=False).splitlines()
    for place in (1, 9):
        text = "\n".join([*lines[:place], lines[place] + ",x", *lines[place + 1 :]])
        with pytest.raises(DataError, match=f"row {place} has 4 cells, the header names 3"):
            data.load(write(tmp_path / "t.csv", text), "kind")
    many = [lines[0], *lines[1:] * 4, lines[1] + ",x"]  # beyond what is looked at first
    with pytest.raises(DataError, match="line 162 has 4 cells, the header names 3"):
        data.load(write(tmp_path / "t.csv", "\n".join(many)), "kind")
    with pytest.raises(DataError, match="opens a quotation mark that is never closed"):
        data.load(write(tmp_path / "t.csv", "\n".join([*lines, '"1,2,cat'])), "kind")


def test_a_faulty_value_is_no_dialect(tmp_path: Path) -> None:
    """An error that the dialect does not explain stays what it is."""
    text = FRAME.assign(b=["1;2", *FRAME["b"][1:]]).to_csv(index=False)
    with pytest.raises(DataError, match=r"column 'b': row 1 of 40 is text, '1;2'"):
        data.load(write(tmp_path / "t.csv", text), "kind")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sep=;:decmal=,", r"no parameter 'decmal'; allowed: sep, decimal, comment; did you mean 'decimal'"),
        ("sep=:", "is not key=value"),
        ("semicolon", "not key=value"),
        ("decimal=,", ", cannot stand between cells and within a number"),
        ("sep=x", r"'x' is not known; allowed: , or ; or \| or tab"),
        ("sep=;:sep=,", "given twice"),
    ],
)
def test_a_wrong_dialect_is_one_error(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_dialect(text)


def test_what_differs_from_the_usual_way_is_part_of_the_identity(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", FRAME.to_csv(index=False))
    assert parse_dialect("sep=,:decimal=.") == Dialect() and Dialect().text == ""
    text = "sep=tab:decimal=,:comment=#:na=NA|?"
    assert parse_dialect(text).text == text
    usual = data.digest(path, "kind")
    assert data.digest(path, "kind", csv="sep=,") == usual == data.load(path, "kind", csv="sep=,").digest
    assert data.digest(path, "kind", csv="comment=#") != usual
    with pytest.raises(DataError, match="it is no CSV file, and --csv 'sep=;' was given too"):
        data.load("digits", csv="sep=;")
