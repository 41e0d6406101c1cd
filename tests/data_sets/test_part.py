"""The part of the validation split that records are evaluated on."""

from dataclasses import replace

import numpy as np
import pytest

from gradlab import data
from gradlab.data.part import validation_part

DIGITS = data.load("digits")


def test_all_rows_where_there_are_not_more() -> None:
    rows = len(DIGITS.y_val)
    for most in (None, rows, rows + 1):
        np.testing.assert_array_equal(validation_part(DIGITS, most), np.arange(rows))


@pytest.mark.parametrize("most", [1, 7, 100, 359])
def test_each_class_has_its_share(most: int) -> None:
    part = validation_part(DIGITS, most)
    assert len(part) == most and (np.diff(part) > 0).all()
    share = most * np.bincount(DIGITS.y_val) / len(DIGITS.y_val)
    assert (np.abs(np.bincount(DIGITS.y_val[part], minlength=10) - share) < 1).all()


def test_a_split_sorted_by_class_is_drawn_from_all_over() -> None:
    order = np.argsort(DIGITS.y_val, kind="stable")
    split = replace(DIGITS, x_val=DIGITS.x_val[order], y_val=DIGITS.y_val[order])
    part = validation_part(split, 50)
    assert set(split.y_val[part]) == set(range(10))
    first_of_class = np.searchsorted(split.y_val, np.arange(10))
    # the first rows of every class alone would be no draw
    assert (part - first_of_class[split.y_val[part]]).max() > 10


def test_a_class_of_a_rare_kind_takes_no_more_than_its_share() -> None:
    y = np.array([0] * 990 + [1] * 10)
    split = replace(DIGITS, y_val=y)
    assert list(np.bincount(y[validation_part(split, 100)])) == [99, 1]


def test_of_numbers_it_is_a_draw_without_replacement_and_always_the_same() -> None:
    y = np.arange(300.0)[:, None]
    split = replace(DIGITS, y_val=y, task="regression")
    part = validation_part(split, 40)
    assert len(set(part)) == 40 and (np.diff(part) > 0).all() and part.max() > 200
    np.testing.assert_array_equal(part, validation_part(split, 40))
