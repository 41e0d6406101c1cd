"""How many rows a record looks at: a number, all, or what suits the data."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import stacks

from gradlab.base.errors import ConfigError
from gradlab.parts.record_rows import LEAST, MOST, NUMBERS, Rows, parse
from gradlab.train.loop import Training


@given(st.integers(1, 10**6))
def test_auto_bounds_what_the_first_layer_costs(features: int) -> None:
    rows = Rows(auto=True).of(features)
    assert rows is not None and LEAST <= rows <= MOST and rows % 64 == 0
    assert rows * features <= NUMBERS or rows == LEAST, "no more inputs than so many, but for the least rows"
    assert (rows + 64) * features > NUMBERS or rows == MOST, "no fewer rows than it could be"


def test_auto_is_the_whole_default_up_to_256_features() -> None:
    """Digits have 64, two moons 2: their runs are as with 512. MNIST has 784."""
    auto = Rows(auto=True)
    assert [auto.of(features) for features in (2, 64, 256, 257, 784, 3072)] == [512, 512, 512, 448, 128, 128]


def test_what_is_written_is_what_is_taken() -> None:
    assert (parse("77", "--probe").of(784), parse("all", "--probe").of(784)) == (77, None)
    with pytest.raises(ConfigError, match="'0' is no number of rows") as caught:
        parse("0", "--probe")
    assert "auto, or all" in str(caught.value.problems[0].allowed)


def test_a_training_on_wide_inputs_has_the_smaller_probe_and_part() -> None:
    stack = stacks.make_stack(data="digits", depth=1, width=4, steps=0, probe="auto", eval_rows="auto")
    digits = stack.cell.dataset()
    wide = replace(
        digits,
        x_train=digits.x_train.repeat(8, axis=1),
        x_val=digits.x_val.repeat(8, axis=1),
        features=8 * digits.features,
    )
    probes = [len(Training(stack, data).sensors[-1].observed.probe) for data in (digits, wide)]
    parts = [len(Training(stack, data).validation_part[1]) for data in (digits, wide)]
    assert (probes, parts) == ([512, 256], [len(digits.y_val), 256])
