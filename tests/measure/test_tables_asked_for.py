"""Every table that is written when asked for: taking it changes nothing else. They are found by being there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference.stacks import make_stack

from gradlab import sensors
from gradlab.train.loop import Training


@pytest.mark.parametrize("extra", [{"norm": "batch", "residual": "pre"}, {"activation": "relu"}])
@pytest.mark.parametrize("table", sensors.optional())
def test_recording_it_changes_no_bit(table: str, extra: dict[str, str]) -> None:
    option = sensors.optional()[table].table.option
    assert option is not None
    runs = []
    for wanted in ("true", "false"):
        sets = [f"recording.{option.name}={wanted}"]
        stack = make_stack(**extra, dtype="float32", steps=6, sets=sets)
        training = Training(stack, stack.cell.dataset())
        runs.append((training, training.run(None, None)))
    (with_it, recorded), (without, plain) = runs
    assert table in recorded.blocks and table not in plain.blocks
    for mine, other in zip(with_it.mlp.state_dict().values(), without.mlp.state_dict().values(), strict=True):
        assert torch.equal(mine, other)
    for name, block in plain.blocks.items():
        np.testing.assert_array_equal(recorded.blocks[name].values, block.values)
    np.testing.assert_array_equal(recorded.input_sq, plain.input_sq)
    assert not any(module._forward_hooks for module in with_it.mlp.modules())
