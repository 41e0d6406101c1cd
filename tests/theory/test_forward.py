"""What theory makes of a signal equals an exact expectation over the weights' signs, or over draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlab.theory import forward
from gradlab.theory.backward.weights import Convolution
from gradlab.theory.forward import Signal


@pytest.mark.parametrize("stride, padding", [(1, 0), (1, 1), (2, 1)])
def test_taps_beyond_the_edge_give_nothing(stride: int, padding: int) -> None:
    """With random signs E z^2 is the convolution of E x^2 = 1.3 with the squared weights, plus the squared biases."""
    torch.manual_seed(0)
    weight, bias = torch.randn(6, 4, 3, 3, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    squares = F.conv2d(
        1.3 * torch.ones(1, 4, 7, 5, dtype=torch.float64), weight**2, stride=stride, padding=padding
    )
    energy = weight.square().sum(1).numpy()
    conv = Convolution(energy, [stride] * 2, [padding] * 2, [1, 1], False, (4, 7, 5))
    found = forward.convolved(1.3, conv, tuple(squares.shape[2:]), bias.numpy())
    exact = float(squares.mean() + bias.square().mean())
    assert found.mean**2 + found.variance == pytest.approx(exact, rel=1e-12)


def test_a_norm_puts_out_its_own_scale() -> None:
    torch.manual_seed(0)
    x = 0.01 * torch.randn(50, 32, dtype=torch.float64)
    weight, bias = torch.rand(32, dtype=torch.float64), torch.randn(32, dtype=torch.float64)
    z = F.layer_norm(x, (32,), weight, bias, eps=1e-5)
    square = float(x.var(1, correction=0).mean())
    found = forward.normalised(square, 1e-5, weight.numpy(), bias.numpy())
    # 32 units: their squared scales and the squares of z are matched to about 1 / sqrt(50 * 32)
    assert found.mean**2 + found.variance == pytest.approx(float(z.square().mean()), rel=0.1)


def test_the_band_is_the_spread_of_the_squares() -> None:
    square, spread = forward.activated(Signal(0.0, 2.0), "relu")
    assert square == pytest.approx(1.0, rel=1e-5)
    assert spread == pytest.approx(5.0, rel=1e-5)  # E phi^4 / (E phi^2)^2 - 1 = 6 - 1
    z = np.random.default_rng(0).normal(0.5, 1.0, 200_000)
    measured = np.tanh(z) ** 2
    square, _ = forward.activated(Signal(0.5, 1.0), "tanh")
    assert square == pytest.approx(measured.mean(), abs=4 * measured.std() / 200_000**0.5)
