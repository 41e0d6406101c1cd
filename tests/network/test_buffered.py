"""A pass in buffers is autograd's, to the last bit, and training does not notice which of the two ran."""

import numpy as np
import pytest
import torch
from reference import stacks
from torch import Tensor

from gradlab import activations
from gradlab.activations.kernels import PAIRS, kernels_of
from gradlab.activations.modules import build_module
from gradlab.activations.registry import REGISTRY
from gradlab.nn.buffered import buffered_pass
from gradlab.nn.mlp import StackedMLP, build_mlp
from gradlab.parts import inits, norms, residuals
from gradlab.parts.losses import LOSSES
from gradlab.train import loop

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
WITH_PARAMETERS = ("leaky_relu:negative_slope=0.2", "elu:alpha=1.7", "thresholded_relu:theta=0.3")
SIZES = [(3, 4, 64, 64), (1, 1, 7, 13), (8, 3, 37, 5)]
EDGES = (0.0, -0.0, 1.0, -1.0, 6.0, -3.0, 3.0, 2.5, -2.5, 25.0, torch.inf, -torch.inf, torch.nan)


def same_bits(one: Tensor, other: Tensor) -> bool:
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    both_nan = one.isnan() & other.isnan()  # the payload of a NaN means nothing
    return bool(((one.view(integers) == other.view(integers)) | both_nan).all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", [*PAIRS, *WITH_PARAMETERS])
def test_the_kernels_are_autograds(text: str, dtype: torch.dtype) -> None:
    activation = activations.get(text)
    kernels = kernels_of(activation)
    assert kernels is not None
    draw = torch.Generator().manual_seed(1)
    z, gradient = (torch.randn(3, 16, 8, generator=draw).mul(4).to(dtype) for _ in range(2))
    z[0, 0] = torch.tensor(EDGES[:8])
    z[0, 1, :5] = torch.tensor(EDGES[8:])
    gradient[0, 2, :2] = torch.tensor([torch.inf, torch.nan])
    z[0, 2, :2] = -100.0
    leaf = z.clone().requires_grad_(True)
    expected = build_module(activation, 3, 8, (0, 1, 2))(leaf)
    (slope,) = torch.autograd.grad(expected, leaf, gradient)
    own = z.clone()
    h = own if kernels.of_output else torch.empty_like(z)
    kernels.forward(own, h)
    kernels.backward(gradient, h if kernels.of_output else own, gradient)
    assert same_bits(h, expected.detach())
    assert same_bits(gradient, slope)


def test_users_activations_have_no_kernels() -> None:
    assert kernels_of(activations.get("softmax")) is None
    assert kernels_of(activations.get("torch.nn:ReLU", own=True)) is None


def stack_of(
    text: str, dtype: torch.dtype, replicas: int, depth: int, width: int, **parts: str
) -> StackedMLP:
    activation = activations.get(text)
    return build_mlp(
        activation=activation,
        init=inits.get("auto", activation),
        norm=norms.get(parts.get("norm", "none")),
        residual=residuals.get(parts.get("residual", "none"), depth),
        depth=depth,
        width=width,
        features=11,
        outputs=4,
        seeds=range(replicas),
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("replicas", "depth", "width", "batch"), SIZES)
@pytest.mark.parametrize("text", [*PAIRS, "prelu", "prelu:per=unit"])
def test_a_pass_in_buffers_is_autograds(
    text: str, replicas: int, depth: int, width: int, batch: int, dtype: torch.dtype
) -> None:
    mlp = stack_of(text, dtype, replicas, depth, width)
    buffered = buffered_pass(mlp, activations.get(text), batch)
    assert buffered is not None
    loss = LOSSES["cross_entropy"]
    draw = torch.Generator().manual_seed(2)
    for _ in range(2):  # the second pass finds the first one's numbers in its buffers
        x = torch.randn(replicas, batch, 11, generator=draw).to(dtype)
        y = torch.randint(0, 4, (replicas, batch), generator=draw)
        outputs = mlp(x)
        expected = torch.autograd.grad(loss.of(outputs, y).sum(), list(mlp.parameters()))
        assert same_bits(buffered.forward(x), outputs.detach())
        other = torch.randn(1, 3, 11, generator=draw).to(dtype).expand(replicas, -1, -1)
        assert same_bits(buffered.infer(other), mlp(other).detach())
        buffered.backward(loss.gradient(outputs, y))
        for (name, _), got, wanted in zip(mlp.named_parameters(), buffered.gradients, expected, strict=True):
            assert same_bits(got, wanted), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("replicas", "depth", "width", "batch"), SIZES)
@pytest.mark.parametrize("text", [*PAIRS, "prelu", "prelu:per=unit"])
def test_a_pass_that_keeps_everything_has_autograds_z_h_and_delta(
    text: str, replicas: int, depth: int, width: int, batch: int, dtype: torch.dtype
) -> None:
    mlp = stack_of(text, dtype, replicas, depth, width)
    buffered = buffered_pass(mlp, activations.get(text), batch)
    assert buffered is not None
    kept, loss = buffered.kept(), LOSSES["cross_entropy"]
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(replicas, batch, 11, generator=draw).to(dtype)
    y = torch.randint(0, 4, (replicas, batch), generator=draw)
    z: list[torch.Tensor] = []
    h: list[torch.Tensor] = []
    for layer in mlp.layers:
        layer.linear.register_forward_hook(lambda *told: z.append(told[2]))
        layer.activation.register_forward_hook(lambda *told: h.append(told[2]))
    outputs = mlp(x)
    parameters = list(mlp.parameters())
    found = torch.autograd.grad(loss.of(outputs, y).sum(), [*parameters, *z])
    assert same_bits(kept.forward(x), outputs.detach())
    losses, gradient = loss.losses_and_gradient(kept.outputs, y)
    assert same_bits(losses, loss.of(outputs, y).detach())
    kept.backward(gradient)
    assert all(same_bits(*pair) for pair in zip(kept.gradients, found, strict=False))
    for layer, delta in enumerate(found[len(parameters) :]):
        assert same_bits(kept.z[layer], z[layer].detach())
        assert same_bits(kept.h[layer], h[layer].detach())
        assert same_bits(kept.delta[layer], delta)
    told: list[torch.Tensor] = []
    buffered.infer(x, lambda _, z: told.append(z.clone()), lambda _, h: told.append(h.clone()))
    expected = [each.detach() for pair in zip(z, h, strict=True) for each in pair] + [outputs.detach()]
    assert all(same_bits(*pair) for pair in zip(told, expected, strict=True))


@pytest.mark.parametrize("parts", [{"norm": "batch"}, {"norm": "layer"}, {"residual": "pre"}])
def test_norms_and_skips_go_through_autograd(parts: dict[str, str]) -> None:
    assert (
        buffered_pass(stack_of("relu", torch.float32, 2, 4, 8, **parts), activations.get("relu"), 5) is None
    )


@pytest.mark.parametrize("flags", [
    {"activation": "tanh", "optimizer": "adam", "clip": 0.5},
    {"activation": "prelu", "optimizer": "nesterov", "weight_decay": 0.01},
    {"activation": "hard_sigmoid"},
])  # fmt: skip
def test_training_is_the_same_with_and_without_buffers(
    flags: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {**flags, "steps": 30, "record": "every:10", "dtype": "float32"}
    with_buffers = stacks.train(**flags)
    monkeypatch.setattr(loop, "buffered_pass", lambda *_: None)
    without = stacks.train(**flags)
    np.testing.assert_array_equal(stacks.layers(with_buffers), stacks.layers(without))
    np.testing.assert_array_equal(stacks.scalars(with_buffers), stacks.scalars(without))
    everything = stacks.train(**{**flags, "record": "all"})  # every step through modules and hooks
    np.testing.assert_array_equal(stacks.scalars(everything)[::10], stacks.scalars(with_buffers))


@pytest.mark.parametrize("lr", [1e2, 1e10, 1e18])
def test_a_net_that_diverges_does_so_alike(lr: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow nets on one sample keep numbers beside NaN and infinity for some steps."""
    flags = {
        "activation": "prelu",
        "depth": 3,
        "width": 1,
        "batch_size": 1,
        "lr": lr,
        "loss": "mse",
        "seeds": 4,
    }
    flags |= {"steps": 6, "record": "all", "dtype": "float32"}
    with_buffers = stacks.train(**flags)
    monkeypatch.setattr(loop, "buffered_pass", lambda *_: None)
    without = stacks.train(**flags)
    np.testing.assert_array_equal(stacks.layers(with_buffers), stacks.layers(without))
    np.testing.assert_array_equal(stacks.scalars(with_buffers), stacks.scalars(without))


@pytest.mark.parametrize("text", [*REGISTRY, *WITH_PARAMETERS, "prelu:init=0"])
def test_two_slopes_are_all_there_are(text: str) -> None:
    """Where phi' is said to take two values, torch's backward pass gives those, at the edges too."""
    activation = activations.get(text)
    z = torch.cat(
        [torch.linspace(-8, 8, 4001, dtype=torch.float64), torch.tensor(EDGES[:10], dtype=torch.float64)]
    )
    z = z.reshape(1, -1, 1).requires_grad_(True)
    (slope,) = torch.autograd.grad(build_module(activation, 1, 1, (0,)).double()(z).sum(), z)
    if activation.pieces is None:
        if text != "tat":  # shaped: not known by intervals
            assert len(slope.unique()) > 2 or activation.phi is None
        return
    intervals, first, second = activation.pieces
    inside = torch.zeros_like(z, dtype=torch.bool)
    for low, high in intervals:
        inside |= (z >= low) & (z <= high)
    torch.testing.assert_close(slope, torch.where(inside, first, second).to(slope))
    if first == 0:
        assert set(intervals) == set(activation.flats)


def test_a_batch_of_another_shape_is_refused() -> None:
    buffered = buffered_pass(stack_of("relu", torch.float32, 2, 3, 8), activations.get("relu"), 16)
    assert buffered is not None
    for shape in ((1, 1, 11), (2, 8, 11), (1, 16, 11)):
        with pytest.raises(RuntimeError, match=r"\[2, 16, 11\]"):
            buffered.forward(torch.ones(shape))
