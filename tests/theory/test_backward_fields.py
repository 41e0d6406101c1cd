"""Second moments of a gradient, taken back through operations, equal those of an exact computation."""

from __future__ import annotations

from itertools import product
from math import isnan, prod

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlab.recorder.graph_rules import energy_of
from gradlab.theory.backward import field as fd
from gradlab.theory.backward.attention import Attention
from gradlab.theory.backward.field import Factor, Field
from gradlab.theory.backward.norms import normalised
from gradlab.theory.backward.pooling import largest
from gradlab.theory.backward.slopes import slope_sq
from gradlab.theory.backward.weights import Convolution, convolution, linear

RNG = np.random.default_rng(0)


def drawn(*sizes: int, square: float = 1.7) -> Field:
    """A field whose correlations are any."""
    field = fd.independent(sizes, square)
    for dim, size in enumerate(sizes):
        field = fd.mixed(field, dim, np.eye(size) + 0.4 * RNG.standard_normal((size, size)))
    return field


def covariance(field: Field) -> np.ndarray:
    """E[x x^T] of the flattened tensor."""
    whole = np.ones((1, 1))
    for dim in field.dims:
        own = fd.correlation(dim)
        whole = np.kron(whole, np.eye(prod(size for size, _ in dim)) if own is None else own)
    return field.square * whole


def test_a_view_keeps_the_entries_and_a_permutation_moves_them() -> None:
    field = drawn(2, 3, 4)
    np.testing.assert_allclose(covariance(fd.reshaped(field, (6, 4))), covariance(field), rtol=1e-12)
    again = fd.reshaped(fd.reshaped(field, (6, 4)), (2, 3, 4))
    np.testing.assert_allclose(covariance(again), covariance(field), rtol=1e-12)
    order = np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1).ravel()
    moved = covariance(fd.permuted(field, (2, 0, 1)))
    np.testing.assert_allclose(moved, covariance(field)[np.ix_(order, order)], rtol=1e-12)


def test_known_maps_along_an_axis_are_exact() -> None:
    field, matrix = drawn(3, 4), RNG.standard_normal((4, 5))
    whole = np.kron(np.eye(3), matrix)
    exact = whole.T @ covariance(field) @ whole
    np.testing.assert_allclose(covariance(fd.mixed(field, 1, matrix)), exact, rtol=1e-10)
    where = np.array([4, 0, 2, 0])
    np.testing.assert_allclose(
        covariance(fd.placed(field, 1, where, 6)),
        covariance(fd.mixed(field, 1, np.eye(6)[where])),
        rtol=1e-10,
    )
    ones = np.kron(np.eye(3), np.ones((4, 1)))
    np.testing.assert_allclose(covariance(fd.summed(field, 1)), ones.T @ covariance(field) @ ones, rtol=1e-10)
    np.testing.assert_allclose(
        covariance(fd.spread(fd.summed(field, 1), 1, 4, 0.25)),
        (ones @ ones.T / 4) @ covariance(field) @ (ones @ ones.T / 4), rtol=1e-10,
    )  # fmt: skip


def test_a_sum_of_independent_fields_adds_their_squares() -> None:
    one, other = drawn(3, 2, square=1.0), drawn(3, 2, square=3.0)
    both = fd.combined([one, other])
    assert both.square == pytest.approx(one.square + other.square)
    assert isnan(fd.combined([one, one]).square)  # x + x has four times the square
    parts = [fd.placed(fd.independent((2,), 1.0, one.origins), 0, np.array([a, a + 1]), 4) for a in (0, 2)]
    assert fd.combined(parts).square == pytest.approx(1.0)  # each alone at its places


def test_copies_of_one_layer_in_a_stream_are_not_independent() -> None:
    """x + W x + W (x + W x) = x + 2 W x + W W x."""
    weights = np.full(8, 0.3)

    def stream(second: np.ndarray) -> float:
        top = fd.independent((5, 8), 1.0)
        above = fd.combined([top, linear(top, 1, weights, 8)])
        return fd.combined([above, linear(above, 1, second, 8)]).square

    assert stream(np.full(8, 0.2)) == pytest.approx(1.3 * 1.2)
    assert isnan(stream(weights))


def test_linear_weights_count_each_output_by_its_own_square() -> None:
    weights, squares = RNG.standard_normal((6, 4)), RNG.random(6)
    field = fd.scaled(fd.independent((3, 6), 1.0), Factor(float(squares.mean()), np.sqrt(squares)[None]))
    exact = (squares[:, None] * weights**2).sum(0).mean()
    assert linear(field, 1, (weights**2).sum(1), 4).square == pytest.approx(exact)


CONVOLUTIONS = [
    {"stride": 1, "padding": 1}, {"stride": 2, "padding": 1}, {"padding": 2, "dilation": 2}, {"groups": 2},
    {"transposed": True, "stride": 2}, {"transposed": True, "stride": 2, "padding": 1, "groups": 2},
]  # fmt: skip


@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
def test_a_convolution_reaches_each_place_by_the_taps_that_it_has(settings: dict[str, int]) -> None:
    """The gradient of sum(output) under squared weights is E delta_in^2 for independent deltas of variance 1."""
    settings = dict(settings)
    transposed = bool(settings.pop("transposed", False))
    groups = settings.get("groups", 1)
    weight = torch.randn(4, 6 // groups, 3, 3, dtype=torch.float64) if transposed else torch.randn(
        6, 4 // groups, 3, 3, dtype=torch.float64
    )  # fmt: skip
    x = torch.zeros(1, 4, 7, 5, dtype=torch.float64, requires_grad=True)
    out = (F.conv_transpose2d if transposed else F.conv2d)(x, weight**2, **settings)
    out.sum().backward()
    energy = energy_of(weight, transposed, groups)
    stride, padding, dilation = (
        [settings.get(name, default)] * 2
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    conv = Convolution(energy, stride, padding, dilation, transposed, (4, 7, 5))
    found = convolution(fd.independent(out.shape, 1.0), conv)
    assert found.shape == x.shape
    assert found.square == pytest.approx(float(x.grad.mean()), rel=1e-12)


def test_random_taps_carry_the_correlation_of_places() -> None:
    """Over all signs of the weights, those of different taps cancel: an exact expectation."""
    field, taps = drawn(1, 1, 6), np.array([0.5, -1.2, 0.8])
    exact = np.zeros((6, 6))
    for signs in product([-1, 1], repeat=3):
        eye = torch.eye(6, dtype=torch.float64)[:, None]
        kernel = torch.as_tensor(taps * signs)[None, None]
        matrix = F.conv1d(eye, kernel, padding=1)[:, 0].T.numpy()  # [out, in]
        exact += matrix.T @ covariance(field) @ matrix / 8
    conv = Convolution((taps**2)[None], [1], [1], [1], False, (1, 6))
    np.testing.assert_allclose(covariance(convolution(field, conv)), exact, rtol=1e-10)


def test_slopes_that_differ_from_place_to_place_take_their_share_of_what_is_alike() -> None:
    slopes = RNG.random((1, 4, 50))
    field = fd.spread(fd.independent((1, 1, 50), 1.0), 1, 4)  # the same at all four places
    behind = fd.scaled(field, Factor(float((slopes**2).mean()), slopes, uneven=False))
    moments = slopes[0] @ slopes[0].T / 50
    np.testing.assert_allclose(behind.square * fd.correlation(behind.dims[1]), moments, rtol=1e-10)


def test_a_norm_takes_the_mean_and_the_part_along_the_signal() -> None:
    """Monte Carlo over 4,000 deltas of 24 entries: their mean square has a relative error of 0.5 %."""
    torch.manual_seed(0)
    x = torch.randn(4000, 24, dtype=torch.float64, requires_grad=True)
    delta = torch.randn(4000, 24, dtype=torch.float64)
    F.layer_norm(x, (24,)).backward(delta)
    scale = 1 / x.detach().std(1, correction=0)
    field = normalised(fd.independent((4000, 24), 1.0), Factor(float((scale**2).mean())), 1 / 24, 24)
    assert field.square == pytest.approx(float(x.grad.square().mean()), rel=0.02)
    same = fd.spread(fd.independent((4000, 1), 1.0), 1, 24)  # all of it is mean
    assert isnan(normalised(same, Factor(1.0), fd.coherence(same.dims[1]), 24).square)


def test_the_largest_of_a_window_gets_all_of_its_gradient() -> None:
    windows = np.kron(np.eye(3), np.ones((1, 2)))
    found = largest(fd.independent((2, 3, 3), 1.0), (1, 2), (windows, windows))
    assert found.shape == (2, 6, 6)
    assert found.square == pytest.approx(1 / 4)
    overlapping = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    assert largest(fd.independent((2, 2), 1.0), (1,), (overlapping,)).square == pytest.approx(2 / 5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("alike", [False, True])
def test_attention_hands_its_gradient_on_as_autograd_does(causal: bool, alike: bool) -> None:
    """The squares over a basis of deltas are the expectation over isotropic ones, exactly."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 5, size, dtype=torch.float64, requires_grad=True) for size in (3, 3, 4))
    scale, length = 0.7, 5
    logits = scale * q @ k.transpose(1, 2)
    if causal:
        logits = logits.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -torch.inf)
    weights = logits.softmax(-1)
    out = weights @ v
    squares = np.zeros(3)
    for unit, place in product(range(4), range(1 if alike else length)):
        delta = torch.zeros_like(out)
        delta[:, slice(None) if alike else place, unit] = 1.0
        given = torch.autograd.grad(out, (q, k, v), delta, retain_graph=True)
        squares += [float(each.square().mean()) for each in given]
    attention = Attention.of(*(each.detach().numpy() for each in (weights, q, k, v)), scale)
    top = fd.independent((1, length, 4), 1.0)
    if alike:
        top = fd.spread(fd.independent((1, 1, 4), 1.0), 1, length)
    found = [field.square for field in attention.back(top, 3)]
    np.testing.assert_allclose(found, squares, rtol=1e-9)


def test_slopes_are_those_of_a_normal_z() -> None:
    z = 0.3 + 0.8 * torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steep = (1 - torch.tanh(z) ** 2) ** 2
    error = float(steep.std()) / 400_000**0.5
    assert slope_sq("tanh", 0.3, 0.64) == pytest.approx(float(steep.mean()), abs=4 * error)
