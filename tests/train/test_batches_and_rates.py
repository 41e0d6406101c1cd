"""The stream of batches and the learning rates: properties that hold whatever the net is."""

from math import cos, pi

import numpy as np
import pytest
import torch

from gradlab.base.errors import ConfigError
from gradlab.parts import rates
from gradlab.train.batches import BatchStream


@pytest.mark.parametrize(("rows", "batch"), [(10, 3), (12, 4), (7, 7), (5, 1), (60, 64)])
def test_every_row_equally_often(rows: int, batch: int) -> None:
    stream = BatchStream(rows, batch, [0, 1])
    drawn = torch.cat([stream.next() for _ in range(3 * rows)], dim=1)
    assert drawn.shape == (2, 3 * rows * batch)
    for replica in drawn:
        assert torch.bincount(replica, minlength=rows).tolist() == [3 * batch] * rows
        passes = replica.reshape(-1, rows).sort(dim=1).values
        assert torch.equal(passes, torch.arange(rows).expand_as(passes)), "each pass is a permutation"
    assert not torch.equal(drawn[0], drawn[1])
    if batch > 1:
        assert not torch.equal(drawn[0, :rows], drawn[0, rows : 2 * rows]), "a new one each time"


def test_a_seeds_batches_do_not_depend_on_its_company() -> None:
    alone, together = BatchStream(50, 8, [5]), BatchStream(50, 8, [3, 4, 5])
    for _ in range(20):
        assert torch.equal(alone.next()[0], together.next()[2])


def test_the_stream_does_not_grow() -> None:
    stream = BatchStream(50, 8, [0])
    for _ in range(500):
        stream.next()
    assert len(stream.left[0]) < 50
    assert stream.left[0].untyped_storage().nbytes() <= 8 * (50 + 8)


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 1, 5, 20])
def test_rates(kind: str, warmup: int) -> None:
    rate = rates.parse(f"{kind}:warmup={warmup}", 0.4, 20)
    got = [rate(step) for step in range(20)]
    shape = {"constant": lambda s: 1.0, "linear": lambda s: 1 - s, "cosine": lambda s: (1 + cos(pi * s)) / 2}
    expected = [
        0.4 * (step + 1) / warmup if step < warmup else 0.4 * shape[kind]((step - warmup) / (20 - warmup))
        for step in range(20)
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    assert max(got) == pytest.approx(0.4) and min(got) > 0


def test_rates_are_torchs_own_schedules() -> None:
    for kind, make in {
        "linear": lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, 10),
        "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
    }.items():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        scheduler, rate = make(optimizer), rates.parse(kind, 0.3, 10)
        for step in range(10):
            assert optimizer.param_groups[0]["lr"] == pytest.approx(rate(step), rel=1e-12)
            optimizer.step()
            scheduler.step()


@pytest.mark.parametrize("text", ["exponential", "linear:warmup=21", "linear:warmup=-1", "cosine:warmup=0.5"])
def test_wrong_schedules(text: str) -> None:
    with pytest.raises(ConfigError):
        rates.parse(text, 0.1, 20)
