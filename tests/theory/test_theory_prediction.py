"""The predicted q and delta of each layer, and the finite-width band, against simulated nets."""

from itertools import pairwise
from math import log, prod, sqrt

import numpy as np
import pytest

from gradlab import activations
from gradlab.base.errors import ConfigError
from gradlab.theory import band, delta_rms, moments, predict


def simulate(text, widths, sigma_w, sigma_b, bias, x, output_delta, rng):  # type: ignore[no-untyped-def]
    """delta_rms of each layer, readout last, of one random net for one input: written out, float64."""
    activation = activations.get(text)
    z, weights = [], []
    h = x
    for fan_in, fan_out, w, b, c in zip(widths[:-1], widths[1:], sigma_w, sigma_b, bias, strict=True):
        weights.append(rng.standard_normal((fan_out, fan_in)) * w / sqrt(fan_in))
        z.append(weights[-1] @ h + b * rng.standard_normal(fan_out) + c)
        h = activation.phi(z[-1])
    delta = output_delta
    sizes = [sqrt(np.mean(delta**2))]
    for layer in range(len(z) - 2, -1, -1):
        delta = activation.slope(z[layer]) * (weights[layer + 1].T @ delta)
        sizes.append(sqrt(np.mean(delta**2)))
    return np.array(sizes[::-1])


def log_delta(text, *, width, depth, nets, sigma_w, sigma_b=0.0, seed=0):  # type: ignore[no-untyped-def]
    """log(delta_rms^2) relative to the readout's, [nets, depth], of nets with an independent normal readout delta."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(nets):
        x = rng.standard_normal(width)
        x /= sqrt(np.mean(x**2))
        sizes = simulate(
            text,
            [width] * (depth + 2),
            [sigma_w] * (depth + 1),
            [sigma_b] * (depth + 1),
            [0.0] * (depth + 1),
            x,
            rng.standard_normal(width),
            rng,
        )
        rows.append(2 * np.log(sizes[:-1] / sizes[-1]))
    return np.array(rows)


def test_closed_forms() -> None:
    relu = predict("relu", depth=4, sigma_w=1.0, q0=3.0)
    np.testing.assert_allclose(relu.q, [3, 1.5, 0.75, 0.375])
    np.testing.assert_allclose(relu.chi, 0.5)
    np.testing.assert_allclose(relu.delta_rms_ratio, sqrt(0.5) ** np.array([3, 2, 1, 0]))
    linear = predict("linear", depth=3, sigma_w=1.0, sigma_b=0.5)
    np.testing.assert_allclose(linear.q, [1.25, 1.5, 1.75])


def test_the_ratio_is_the_product_of_chi_over_the_layers_passed() -> None:
    net = predict("tanh", depth=6, sigma_w=1.4, sigma_b=0.1)
    for layer in range(6):
        assert net.delta_rms_ratio[layer] == pytest.approx(sqrt(prod(net.chi[layer:5])))


def test_a_net_too_deep_for_float64_still_has_ratios_and_no_warning() -> None:
    net = predict("sigmoid", depth=600, sigma_w=1.0)
    assert net.delta_rms_ratio[0] == 0 and net.delta_rms_ratio[-1] == 1
    assert net.delta_rms_ratio[-100] == pytest.approx(0.05572070677**49.5, rel=1e-6)


def test_unequal_layers_with_biases_and_a_constant_bias() -> None:
    """Every layer its own fans, sigma_w, sigma_b and bias: the mean over wide random nets."""
    widths = [300, 900, 450, 700, 10]
    sigma_w, sigma_b, bias = [1.3, 0.9, 1.6, 1.1], [0.2, 0.0, 0.4, 0.1], [0.3, -0.5, 0.1, 0.0]
    fans = list(pairwise(widths))
    net = predict("sigmoid", depth=3, sigma_w=sigma_w, sigma_b=sigma_b, bias=bias, q0=2.0, fans=fans)
    rng = np.random.default_rng(3)
    squares = np.zeros(4)
    for _ in range(60):
        x = rng.standard_normal(300)
        x *= sqrt(2 / np.mean(x**2))
        delta = rng.standard_normal(10)
        delta /= sqrt(np.mean(delta**2))
        squares += simulate("sigmoid", widths, sigma_w, sigma_b, bias, x, delta, rng) ** 2 / 60
    expected = delta_rms(net, 1.0)
    # the standard deviation of one net's square is below 12 % in every layer, of the mean over 60 below 1.6 %
    np.testing.assert_allclose(np.sqrt(squares), expected, rtol=0.032)
    assert expected[-1] == 1


def test_inputs_of_different_size_are_averaged_in_delta_not_in_q() -> None:
    """Two inputs, one large: tanh lets almost no gradient of the large one through."""
    both = predict("tanh", depth=3, sigma_w=1.0, q0=[0.1, 40.0])
    single = [predict("tanh", depth=3, sigma_w=1.0, q0=q0) for q0 in (0.1, 40.0)]
    np.testing.assert_allclose(both.q, (single[0].q + single[1].q) / 2)
    expected = np.sqrt(sum(delta_rms(net, 2.0) ** 2 for net in single) / 2)
    np.testing.assert_allclose(delta_rms(both, 2.0), expected)
    weighed = np.sqrt((delta_rms(single[0], 1.0) ** 2 + delta_rms(single[1], 3.0) ** 2) / 2)
    np.testing.assert_allclose(delta_rms(both, [1.0, 3.0]), weighed)


def test_lists_of_a_wrong_length_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 values"):
        predict("tanh", depth=3, sigma_w=[1.0, 1.0])
    with pytest.raises(ConfigError, match="2 layers"):
        predict("tanh", depth=3, sigma_w=1.0, fans=[(3, 4), (4, 4)])


@pytest.mark.parametrize(
    ("text", "sigma_w", "sigma_b", "width"),
    [
        ("relu", sqrt(2), 0.0, 128),
        ("tanh", 1.0, 0.0, 64),
        ("tanh", 2.0, 0.3, 64),
        ("sigmoid", 1.0, 0.0, 64),
        ("sigmoid", 10.149, 0.0, 128),
        ("selu", 1.0, 0.0, 64),
        ("gelu", 1.4, 0.5, 128),
        ("hard_swish", 1.2, 1.0, 128),
    ],
)
def test_the_variance_and_mean_of_log_delta(text: str, sigma_w: float, sigma_b: float, width: int) -> None:
    """First order in depth / width, so the depth stays small; 400 nets know a variance to 7 %."""
    nets, depth = 400, 6
    measured = log_delta(text, width=width, depth=depth, nets=nets, sigma_w=sigma_w, sigma_b=sigma_b)
    net = predict(text, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b)
    spread = band(net, width=width, reference="output")
    np.testing.assert_allclose(measured.var(axis=0, ddof=1), spread.variance, rtol=0.28)
    off = measured.mean(axis=0) - 2 * np.log(delta_rms(net, 1.0)[:-1])
    error = np.sqrt(spread.variance / nets)
    first_order = spread.variance  # what the mean is off by has this size, and is known to about half of it
    assert np.all(np.abs(off - (spread.shift - spread.variance / 2)) < 4 * error + 0.4 * first_order)


def test_relus_fluctuation_is_five_over_n_a_layer() -> None:
    spread = band(predict("relu", depth=11, sigma_w=sqrt(2)), width=100)
    np.testing.assert_allclose(spread.variance, 5 / 100 * np.arange(10, -1, -1), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(spread.shift, 0, atol=1e-12)
    assert log(spread.low[0]) == pytest.approx(-(0.5 / 2 + 4 * sqrt(0.5)) / 2)
    more = band(predict("relu", depth=11, sigma_w=sqrt(2)), width=100, replicas=16)
    assert log(more.high[0]) == pytest.approx(log(spread.high[0]) / 4)


def test_the_band_makes_no_statement_where_units_die_one_by_one() -> None:
    spread = band(predict("thresholded_relu", depth=10, sigma_w=1.0), width=512)
    assert spread.low[0] == 0 and np.isinf(spread.high[0])
    assert (spread.low[-1], spread.high[-1]) == (1, 1)
    # on the ridge between fading and growing, GELU's q wanders by its own size: the variance is finite but no guide
    spread = band(predict("gelu", depth=20, sigma_w=sqrt(2)), width=64)
    assert spread.low[0] == 0 and np.isinf(spread.high[0])


def test_softplus_under_he_rises_above_mean_field_and_the_band_knows() -> None:
    """delta's part along the growing signal: one net in a hundred draws may leave a 4 sigma band, not their mean."""
    depth, width, nets = 20, 256, 24
    measured = log_delta("softplus", width=width, depth=depth, nets=nets, sigma_w=sqrt(2))
    net = predict("softplus", depth=depth, sigma_w=sqrt(2))
    spread = band(net, width=width, replicas=nets, reference="output")
    off = measured.mean(axis=0) / 2 - np.log(delta_rms(net, 1.0)[:-1])
    assert np.all((off > np.log(spread.low)) & (off < np.log(spread.high)))
    assert spread.shift[0] > 0.5


def test_moments_follow_the_layers() -> None:
    net = predict("gelu", depth=3, sigma_w=1.2, sigma_b=0.1)
    np.testing.assert_allclose(net.slope_sq, moments("gelu", net.q).slope_sq)
    np.testing.assert_allclose(net.h_sq, moments("gelu", net.q).phi_sq)


def test_each_layers_variance_is_made_by_the_weights_and_biases_before_it() -> None:
    """q_(l+1) = sigma_w_(l+1)^2 E[phi(z_l)^2] + sigma_b_(l+1)^2, of a linear net in the head."""
    net = predict("linear", depth=3, sigma_w=[1.0, 2.0, 3.0, 5.0], sigma_b=[0.5, 0.25, 2.0, 7.0], q0=2.0)
    first = 2.0 + 0.25
    second = 4 * first + 0.0625
    np.testing.assert_allclose(net.q, [first, second, 9 * second + 4], rtol=1e-12)
    np.testing.assert_allclose(net.chi, [4, 9, 25], rtol=1e-12)
