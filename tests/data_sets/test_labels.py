"""Labels stay the texts that they are; which texts are numbers is one rule for every kind of file."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradlab import data
from gradlab.base.errors import DataError
from gradlab.data.columns import classes, typed

REPEATS = 12
CASES = {
    "a zero before a digit": (["01", "1", "2"], ("01", "1", "2")),
    "codes of one length": (["007", "042"], ("007", "042")),
    "blanks at the ends": (["cat", "cat ", " dog"], ("cat", "dog")),
    "numbers": (["10", "9", "-3"], ("-3", "9", "10")),
    "numbers with blanks": ([" 10", "9 "], ("9", "10")),
    "floats that are whole": (["1.0", "2.0"], ("1", "2")),
    "one that is no number": (["1", "2", "two"], ("1", "2", "two")),
    "truth values": (["True", "False"], ("False", "True")),
    "missing ones of other programs": (["NA", "None"], ("NA", "None")),
}


def save(folder: Path, ending: str, target: list[str]) -> str:
    rows = len(target)
    x = np.random.default_rng(0).standard_normal(rows)
    path = folder / f"t.{ending}"
    if ending == "csv":
        path.write_text(
            "a,y\n" + "".join(f"{float(value)!r},{text}\n" for value, text in zip(x, target, strict=True))
        )
    elif ending == "npz":
        np.savez(path, a=x, y=np.array(target))
    elif ending == "bytes.npz":
        np.savez(path, a=x, y=np.array(target, dtype="S"))
    else:
        pytest.importorskip("pyarrow")
        column = pd.Series(target)
        frame = pd.DataFrame({"a": x, "y": column.astype("category") if "category" in ending else column})
        frame.to_parquet(path)
    return str(path)


ENDINGS = ["csv", "npz", "bytes.npz", "parquet", "category.parquet"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("case", list(CASES))
def test_the_classes_are_the_same_from_every_file(case: str, ending: str, tmp_path: Path) -> None:
    labels, names = CASES[case]
    dataset = data.load(save(tmp_path, ending, labels * REPEATS), "y")
    assert (dataset.task, dataset.class_names) == ("classification", names)


@pytest.mark.parametrize("ending", ENDINGS)
def test_numbers_to_predict_are_the_same_from_every_file(ending: str, tmp_path: Path) -> None:
    values = [f"{value:.2f}" for value in np.random.default_rng(1).normal(0, 40, 60)]
    values += ["1e3", "2.5E-05", "+7.", ".5", "-0", "12345678901234567890"]
    dataset = data.load(save(tmp_path, ending, values), "y")
    assert dataset.task == "regression"
    exact = data.load(save(tmp_path, "npz", [float(value) for value in values]), "y")  # type: ignore[list-item]
    np.testing.assert_array_equal(dataset.y_train, exact.y_train)
    with pytest.raises(DataError, match=r"row 3 of 62 is text, '03'.*a number has no zero before its digits"):
        data.load(save(tmp_path, ending, [*values[:2], "03", *values[2:61]]), "y", task="regression")


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_labels_of_zero_and_one_may_be_truth_values(ending: str, tmp_path: Path) -> None:
    dataset = data.load(save(tmp_path, ending, ["true", "false"] * 20), "y", task="multilabel")
    assert sorted({*dataset.y_train.ravel()}) == [0.0, 1.0]


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_a_label_of_blanks_is_missing(ending: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2 of 40 has no class"):
        data.load(save(tmp_path, ending, ["cat", "  ", "dog", "dog"] * 10), "y")


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", a=np.arange(40.0), y=np.array([b"\xff", b"a"] * 20))
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "t.npz"))):
        data.load(str(tmp_path / "t.npz"), "y")


def test_a_numeric_column_stays() -> None:
    for values in ([1, 2], [1.5, np.nan], [True, False]):
        column = pd.Series(values)
        pd.testing.assert_series_equal(typed(column), column)


@pytest.mark.parametrize(
    ("labels", "rows", "task"),
    [
        (20, 40, "classification"),
        (21, 210, "classification"),
        (21, 209, "regression"),
        (30, 299, "regression"),
    ],
)
def test_more_than_twenty_whole_numbers_are_classes_with_ten_rows_each(
    labels: int, rows: int, task: str
) -> None:
    target = np.resize(np.arange(labels), rows)
    if task == "classification":
        found, names = classes(pd.Series(target), "y")
        assert len(names) == labels and found.tolist() == target.tolist()
    else:
        with pytest.raises(DataError, match="regression"):
            classes(pd.Series(target), "y")
