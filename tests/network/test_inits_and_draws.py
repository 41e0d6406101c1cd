"""Initialisers: the moments of the draws are those the rules state, and a seed draws the same for everyone."""

import random
from math import sqrt

import numpy as np
import pytest
import torch

from gradlab import activations
from gradlab.base import generators
from gradlab.nn.draws import draw_bias, draw_weight, generator
from gradlab.parts import inits

SHAPES = [(300, 200), (200, 300), (250, 250)]
VARIANCE = {
    "torch": lambda i, o: 1 / (3 * i),
    "glorot": lambda i, o: 2 / (i + o),
    "glorot_uniform": lambda i, o: 2 / (i + o),
    "he": lambda i, o: 2 / i,
    "he_uniform": lambda i, o: 2 / i,
    "lecun": lambda i, o: 1 / i,
    "lecun_uniform": lambda i, o: 1 / i,
    "orthogonal": lambda i, o: 2 / max(i, o),
    "gaussian:sigma_w=1.7": lambda i, o: 1.7**2 / i,
    "glorot:gain=3": lambda i, o: 9 * 2 / (i + o),
    "he:gain=0.5": lambda i, o: 0.25 / i,
}


def init(text: str, activation: str = "relu") -> inits.Init:
    return inits.get(text, activations.get(activation))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("text", VARIANCE)
def test_variance_of_the_weights(text: str, shape: tuple[int, int]) -> None:
    """60,000 entries: the variance of a normal draw is known to 0.6 %, so 3 % is five standard errors."""
    rule = init(text)
    assert rule.sigma_w is not None
    expected = VARIANCE[text](*shape)
    assert rule.sigma_w(*shape) ** 2 / shape[0] == pytest.approx(expected, rel=1e-12)
    weight = draw_weight(rule, 3, 1, *shape)
    assert weight.shape == shape and weight.dtype == torch.float64
    assert weight.mean().abs() < 5 * sqrt(expected / weight.numel())
    assert weight.var().item() == pytest.approx(expected, rel=0.03)
    if rule.distribution == "uniform":
        bound = sqrt(3 * expected)
        assert bound * 0.9999 < weight.abs().max() <= bound
    elif rule.distribution == "normal":
        kurtosis = (weight**4).mean() / (weight**2).mean() ** 2
        assert kurtosis.item() == pytest.approx(3.0, abs=0.12)


@pytest.mark.parametrize(("fan_in", "fan_out"), [(20, 12), (12, 20), (16, 16), (1, 1), (1, 7), (7, 1)])
def test_orthogonal_rows_or_columns(fan_in: int, fan_out: int) -> None:
    weight = draw_weight(init("orthogonal", "tanh"), 0, 1, fan_in, fan_out)
    small = min(fan_in, fan_out)
    gram = weight.T @ weight if fan_in >= fan_out else weight @ weight.T
    torch.testing.assert_close(gram, torch.eye(small, dtype=torch.float64), atol=1e-13, rtol=0)
    doubled = draw_weight(init("orthogonal:gain=2", "tanh"), 0, 1, fan_in, fan_out)
    torch.testing.assert_close(doubled, 2 * weight)


def test_orthogonal_is_haar() -> None:
    """The trace of a Haar orthogonal matrix has mean 0 and variance 1; without the sign of R its mean is not 0."""
    traces = torch.stack(
        [torch.trace(draw_weight(init("orthogonal", "tanh"), s, 1, 6, 6)) for s in range(2000)]
    )
    assert traces.mean().abs() < 5 / sqrt(2000)
    assert traces.var().item() == pytest.approx(1.0, abs=0.16)


def test_torchs_default_is_nn_linears() -> None:
    """Weights and biases uniform within 1 / sqrt(fan_in), as nn.Linear draws them."""
    rule, linear = init("torch"), torch.nn.Linear(49, 40_000)
    weight, bias = draw_weight(rule, 0, 1, 49, 40_000), draw_bias(rule, 0, 1, 49, 40_000)
    for ours, theirs in ((weight, linear.weight), (bias, linear.bias)):
        assert ours.abs().max().item() == pytest.approx(1 / 7, rel=1e-3)
        assert ours.abs().max() <= 1 / 7
        assert ours.var().item() == pytest.approx(theirs.var().item(), rel=0.03)


@pytest.mark.parametrize(
    ("activation", "rule", "sigma_w"),
    [
        ("sigmoid", "glorot", 1.0),
        ("hard_sigmoid", "glorot", 1.0),
        ("softmax", "glorot", 1.0),
        ("tanh", "glorot", 1.0),
        ("hard_tanh", "glorot", 1.0),
        ("erf", "glorot", 1.0),
        ("softsign", "glorot", 1.0),
        ("linear", "glorot", 1.0),
        ("selu", "lecun", 1.0),
        ("relu", "he", sqrt(2)),
        ("gelu", "he", sqrt(2)),
        ("elu", "he", sqrt(2)),
        ("leaky_relu:negative_slope=0.5", "he", sqrt(2 / 1.25)),
        ("prelu", "he", sqrt(2 / (1 + 0.0625))),
    ],
)
def test_auto(activation: str, rule: str, sigma_w: float) -> None:
    found = init("auto", activation)
    assert found.rule == rule and found.text == "auto" and found.sigma_w is not None
    assert found.sigma_w(64, 64) == pytest.approx(sigma_w, rel=1e-14)


def test_he_gains_are_torchs() -> None:
    for name, slope in (("relu", None), ("leaky_relu", 0.01), ("leaky_relu:negative_slope=0.3", 0.3)):
        sigma_w = init("he", name).sigma_w
        kind = name.split(":")[0]
        assert sigma_w is not None
        assert sigma_w(10, 20) == pytest.approx(torch.nn.init.calculate_gain(kind, slope), rel=1e-12)


@pytest.mark.parametrize("text", ["he", "torch", "gaussian", "constant", "orthogonal", "auto"])
def test_constant_biases(text: str) -> None:
    """`:bias=C` shifts every bias by C and leaves the draw around it alone."""
    plain, shifted = (draw_bias(init(t), 0, 2, 30, 20) for t in (text, f"{text}:bias=0.7"))
    torch.testing.assert_close(shifted - plain, torch.full((20,), 0.7, dtype=torch.float64))
    if text != "torch":
        assert torch.equal(plain, torch.zeros(20, dtype=torch.float64))


def test_gaussian_biases() -> None:
    bias = draw_bias(init("gaussian:sigma_b=0.3:bias=1"), 0, 1, 10, 40_000)
    assert bias.mean().item() == pytest.approx(1.0, abs=0.0075)
    assert bias.std().item() == pytest.approx(0.3, rel=0.02)


def test_constant_weights() -> None:
    weight = draw_weight(init("constant:value=0.2"), 0, 1, 3, 4)
    assert torch.equal(weight, torch.full((3, 4), 0.2, dtype=torch.float64))


# -- paired comparisons ----------------------------------------------------------------------------------------


def test_same_draws_for_every_scale_and_activation() -> None:
    unit = draw_weight(init("gaussian"), 5, 3, 20, 30)
    for text, activation in (
        ("gaussian:sigma_w=2.5", "tanh"),
        ("he", "gelu"),
        ("glorot", "sigmoid"),
        ("lecun", "selu"),
    ):
        rule = init(text, activation)
        assert rule.sigma_w is not None
        torch.testing.assert_close(
            draw_weight(rule, 5, 3, 20, 30), unit * rule.sigma_w(20, 30), rtol=1e-14, atol=0
        )
    small, large = (draw_bias(init(f"gaussian:sigma_b={s}"), 5, 3, 20, 30) for s in (0.1, 0.4))
    torch.testing.assert_close(4 * small, large, rtol=1e-14, atol=0)


def test_draws_differ_between_seeds_layers_and_purposes() -> None:
    rule = init("gaussian:sigma_b=1")
    drawn = [draw_weight(rule, seed, layer, 8, 8)[0] for seed in (0, 1, 10, 11) for layer in (1, 2, 11)]
    drawn += [draw_bias(rule, seed, layer, 8, 8) for seed in (0, 1) for layer in (1, 2)]
    assert len({tuple(d.tolist()) for d in drawn}) == len(drawn)
    stacked = torch.stack([draw_weight(rule, seed, 1, 30, 30).flatten() for seed in range(20)])
    correlation = np.corrcoef(stacked.numpy())[~np.eye(20, dtype=bool)]
    assert np.abs(correlation).max() < 5 / 30


def test_draws_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    draw_weight(init("orthogonal"), 0, 1, 5, 5)
    draw_bias(init("torch"), 0, 1, 5, 5)
    generator(0, "batches").initial_seed()
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("inside", [generators.kept, lambda device: generators.seeded(5, device)])
def test_draws_inside_leave_no_trace_in_any_of_the_three_generators(inside) -> None:  # type: ignore[no-untyped-def]
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    with generators.kept("cpu"):
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        expected = drawn()
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        with inside("cpu"):
            drawn()
        assert drawn() == expected
