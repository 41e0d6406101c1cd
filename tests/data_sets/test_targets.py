"""What a target column is: classes, numbers to predict, or labels; how it is read, split and standardised."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradlab import data
from gradlab.base.errors import DataError
from gradlab.data.registry import RECIPE_VERSION
from gradlab.data.targets import table_from_frame

ROWS = 60
DRAWN = np.random.default_rng(0)
X = DRAWN.standard_normal((ROWS, 2))
FRAME = pd.DataFrame(
    {
        "a": X[:, 0],
        "b": X[:, 1],
        "price": 1000 + 30 * X[:, 0],
        "size": 5 + X[:, 1],
        "rating": np.arange(ROWS) % 5 + 1,
        "year": 1950 + np.arange(ROWS),
        "name": ["x", "y"] * (ROWS // 2),
        "left": np.arange(ROWS) % 2,
        "right": np.arange(ROWS) // 2 % 2,
        "gone": [*X[1:, 0], np.nan],
    }
)


def csv(folder: Path, *columns: str) -> str:
    FRAME[["a", "b", *columns]].to_csv(folder / "t.csv", index=False)
    return str(folder / "t.csv")


@pytest.mark.parametrize(
    ("columns", "task", "found"),
    [
        (["price"], "auto", "regression"),
        (["year"], "auto", "regression"),
        (["rating"], "auto", "classification"),
        (["name"], "auto", "classification"),
        (["left"], "auto", "classification"),
        (["price", "size"], "auto", "regression"),
        (["left", "right"], "auto", "multilabel"),
        (["left", "rating"], "auto", "regression"),
        (["rating"], "regression", "regression"),
        (["left"], "multilabel", "multilabel"),
        (["left", "right"], "regression", "regression"),
        (["rating"], "classification", "classification"),
    ],
)
def test_the_task_is_what_the_user_says_or_what_the_columns_are(
    columns: list[str], task: str, found: str
) -> None:
    table = table_from_frame(FRAME[["a", "b", *columns]].copy(), columns, "t", task)
    assert (table.task, table.targets) == (found, tuple(columns)) and table.x.shape == (ROWS, 2)
    if found == "classification":
        assert table.y.dtype == np.int64 and table.y.shape == (ROWS,)
    else:
        np.testing.assert_array_equal(table.y, FRAME[columns].to_numpy(dtype=float))
    assert table.either == (task == "auto" and columns in (["rating"], ["left"]))


def test_numbers_are_standardised_on_the_training_part(tmp_path: Path) -> None:
    dataset = data.load(csv(tmp_path, "price", "size"), "price,size")
    assert (dataset.task, dataset.outputs, dataset.classes, dataset.chance) == ("regression", 2, 0, None)
    assert dataset.kind == "2 numbers to predict (price, size)"
    assert len(dataset.y_train) == 48 and len(dataset.y_val) == 12
    np.testing.assert_allclose(dataset.y_train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(dataset.y_train.std(axis=0), 1, rtol=1e-12)
    # The rows stay together: price is a line in a, size a line in b, before and after.
    for part, x in ((dataset.y_train, dataset.x_train), (dataset.y_val, dataset.x_val)):
        np.testing.assert_allclose(part, x, atol=1e-9)
    again = data.load(csv(tmp_path, "price", "size"), "price,size")
    np.testing.assert_array_equal(again.y_val, dataset.y_val)


def test_labels_stay_zero_and_one(tmp_path: Path) -> None:
    dataset = data.load(csv(tmp_path, "left", "right"), "left, right")
    assert dataset.task == "multilabel" and set(np.unique(dataset.y_train)) == {0.0, 1.0}
    assert len(np.unique(np.r_[dataset.x_train, dataset.x_val], axis=0)) == ROWS


def test_a_column_whose_name_holds_a_comma_is_one_column(tmp_path: Path) -> None:
    frame = FRAME[["a", "b", "price", "size"]].rename(columns={"price": "price, net"})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert data.load(str(tmp_path / "t.csv"), "price, net").targets == ("price, net",)


def test_an_array_of_several_columns_is_several_targets(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=X, y=FRAME[["price", "size"]].to_numpy(), z=FRAME[["price"]].to_numpy())
    two = data.load(str(tmp_path / "t.npz"), "y")
    assert two.targets == ("y[0]", "y[1]") and two.features == 3
    assert data.load(str(tmp_path / "t.npz"), "z").targets == ("z",)


def test_a_users_function_may_give_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_numbers.py").write_text(
        "import numpy as np\n"
        "def line(columns=1):\n"
        "    x = np.arange(40.0).reshape(20, 2)\n"
        "    return x, np.stack([x[:, 0] * 0.3] * columns, axis=1)\n"
        "def ages():\n"
        "    return np.arange(40.0).reshape(20, 2), np.arange(20) % 4\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert data.load("own_numbers:line").task == "regression"
    assert data.load("own_numbers:line:columns=3").targets == ("y[0]", "y[1]", "y[2]")
    assert data.load("own_numbers:ages").classes == 4
    as_numbers = data.load("own_numbers:ages", task="regression")
    assert as_numbers.task == "regression" and as_numbers.digest != data.load("own_numbers:ages").digest


def test_the_identity_of_classes_is_what_it_was(tmp_path: Path) -> None:
    path = csv(tmp_path, "rating")
    expected = hashlib.sha256(f"recipe {RECIPE_VERSION}, target rating\n".encode())
    expected.update(hashlib.sha256(Path(path).read_bytes()).digest())
    assert data.digest(path, "rating") == expected.hexdigest()
    assert data.digest(path, "rating", task="regression") != expected.hexdigest()


@pytest.mark.parametrize(
    ("columns", "task", "says"),
    [
        (["gone"], "auto", "column 'gone': row 60 of 60 is empty or NaN"),
        (["name"], "regression", "column 'name': row 1 of 60 is text, 'x'"),
        (["rating"], "multilabel", "column 'rating': row 2 of 60 is 2; allowed: 0 or 1"),
        (["price"], "classification", "a quantity, not a class; allowed: whole numbers"),
        (["price", "size"], "classification", "2 columns (price, size) are no class of a row"),
        (["left", "name"], "auto", "column 'name': row 1 of 60 is text"),
        (["price", "cost"], "auto", "no column 'cost'"),
    ],
)
def test_what_is_wrong_with_a_target_is_named(
    columns: list[str], task: str, says: str, tmp_path: Path
) -> None:
    path = csv(tmp_path, *[name for name in columns if name != "cost"])
    with pytest.raises(DataError) as caught:
        data.load(path, ",".join(columns), task=task)
    assert says in str(caught.value)


def test_too_few_rows_and_numbers_that_do_not_vary(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "1,0.5\n2,1.5\n" * 3)
    with pytest.raises(DataError, match="it has 6 rows; allowed: 8 rows or more"):
        data.load(str(path), "y")
    path.write_text("a,y\n" + "1,0.5\n2,0.5\n" * 8)
    with pytest.raises(DataError, match=r"target 1 of 1 is 0\.5 in all 13 training rows"):
        data.load(str(path), "y")


def test_data_with_classes_of_their_own_take_no_task() -> None:
    with pytest.raises(DataError, match="it has classes, and --task regression was given too"):
        data.load("digits", task="regression")
    assert data.load("digits", task="classification").classes == 10
