"""Torch's global generators: seeded for a while, and not drawn from by whoever only looks on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference.stacks import make_stack, scalars

from gradlab.base import generators
from gradlab.lab.job import work


def test_seeded_draws_and_the_state_afterwards() -> None:
    before = torch.get_rng_state()
    with generators.seeded(7, "cpu"):
        drawn = torch.rand(5)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn, torch.rand(5, generator=torch.Generator().manual_seed(7)))
    with pytest.raises(ZeroDivisionError), generators.kept("cpu"):
        torch.rand(5)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def noisy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "noisy_phi.py").write_text(
        "import torch\ndef phi(z):\n    return torch.tanh(z) + 0.1 * torch.randn_like(z)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "noisy_phi:phi"


def test_a_random_activation_trains_the_same_whatever_is_recorded(noisy: str) -> None:
    unrecorded = work(make_stack(activation=noisy, steps=7, record="off"), lambda *_: None, lambda _: None)
    for recording in (
        {"record": "all"},
        {"record": "every:3"},
        {"record": "log", "jacobian": True, "sharpness": True, "histograms": True, "metrics": "full"},
    ):
        result = work(make_stack(activation=noisy, steps=7, **recording), lambda *_: None, lambda _: None)
        np.testing.assert_array_equal(scalars(result)[-1], scalars(unrecorded)[-1])
