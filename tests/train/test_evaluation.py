"""What a record evaluates: a fixed part of the validation split, and the whole of it at the end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reference import stacks

from gradlab.data.part import validation_part
from gradlab.train.loop import train_stack

VALIDATION = ("val_loss", "val_accuracy", "val_r2", "eval_rows")


@pytest.fixture(params=["digits", "numbers"])
def flags(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    base: dict[str, object] = {"activation": "tanh", "depth": 2, "steps": 4, "record": "all"}
    if request.param == "digits":
        return base | {"data": "digits"}
    x = np.random.default_rng(1).standard_normal((400, 3))
    pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "price": x[:, 0] * x[:, 2]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    return base | {"data": str(tmp_path / "t.csv"), "target": "price", "loss": "mse"}


def test_a_part_at_records_and_the_whole_at_the_last(flags: dict[str, object]) -> None:
    """The validation columns are those of a data set whose split is the part; in the end those of all rows."""
    stack, everything = (stacks.make_stack(**flags, eval_rows=rows) for rows in ("50", "all"))
    dataset = stack.cell.dataset()
    part = validation_part(dataset, 50)
    smaller = replace(dataset, x_val=dataset.x_val[part], y_val=dataset.y_val[part])
    found, of_all, of_part = (
        train_stack(each, split).blocks["steps"]
        for each, split in ((stack, dataset), (everything, dataset), (everything, smaller))
    )
    for name in found.columns:
        expected = of_all.column(name)
        if name in VALIDATION:
            expected = np.concatenate([of_part.column(name)[:, :-1], expected[:, -1:]], axis=1)
        np.testing.assert_array_equal(found.column(name), expected, err_msg=name)
    rows = found.column("eval_rows")
    assert (rows[:, :-1] == 50).all() and (rows[:, -1] == len(dataset.y_val)).all()


def test_more_rows_than_fit_at_once_are_evaluated_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stacks.make_stack(data="digits", depth=2, steps=1)
    whole = train_stack(stack, stack.cell.dataset()).blocks["steps"]
    monkeypatch.setattr("gradlab.train.loop.EVALUATION_ROWS", 7)
    pieces = train_stack(stack, stack.cell.dataset()).blocks["steps"]
    for name in ("val_loss", "val_accuracy", "eval_rows"):
        np.testing.assert_allclose(pieces.column(name), whole.column(name), rtol=1e-12)
