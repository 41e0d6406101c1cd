"""Claims a correct recorder cannot break: homogeneity, what a seed is, where float32 ends, how deep it goes."""

import numpy as np
import pytest
import torch
from reference import stacks

from gradlab.config.plan import Stack
from gradlab.store.stack_result import StackResult
from gradlab.train.loop import build_stack, train_stack


@pytest.mark.parametrize("activation", ["linear", "relu", "leaky_relu:negative_slope=0.2"])
@pytest.mark.parametrize(("dtype", "rel"), [("float64", 1e-12), ("float32", 1e-4)])
def test_weights_times_their_gradients_sum_to_the_same_in_every_layer(
    activation: str, dtype: str, rel: float
) -> None:
    """Bias-free and homogeneous: sum(W * dL/dW) is one number for all layers, however the gradients fade."""
    stack = stacks.make_stack(
        activation=activation, depth=20, width=32, dtype=dtype, batch_size=32, init="gaussian:sigma_w=1"
    )
    data = stack.cell.dataset()
    mlp = build_stack(stack, data)
    format_ = mlp.readout.weight.dtype
    x = torch.from_numpy(data.x_train[:32]).to(format_).expand(2, -1, -1)
    labels = torch.from_numpy(data.y_train[:32]).repeat(2)
    loss = torch.nn.functional.cross_entropy(mlp(x).reshape(64, -1), labels, reduction="sum") / 32
    weights = [linear.weight for linear in mlp.linears]
    gradients = torch.autograd.grad(loss, weights)
    sums = torch.stack(
        [(w.double() * g.double()).sum(dim=(1, 2)) for w, g in zip(weights, gradients, strict=True)]
    )
    magnitude = torch.stack(
        [
            w.double().flatten(1).norm(dim=1) * g.double().flatten(1).norm(dim=1)
            for w, g in zip(weights, gradients, strict=True)
        ]
    )
    assert ((sums - sums[-1]).abs() <= rel * magnitude.amin(dim=0)).all()
    assert sums.abs().min() > 0


@pytest.mark.parametrize("depth", [20, 30])
def test_he_2015_halving_the_variance_costs_exactly_a_factor_for_each_layer(depth: int) -> None:
    """Same draws, one fixed cotangent: sigma_w^2 from 2 to 1 multiplies delta_first / delta_last by 2^(-(L-1)/2)."""
    ratio = {}
    for square in (2, 1):
        stack = stacks.make_stack(
            activation="relu",
            depth=depth,
            width=48,
            dtype="float32",
            init=f"gaussian:sigma_w={square**0.5!r}",
        )
        data = stack.cell.dataset()
        mlp = build_stack(stack, data)
        kept: list[torch.Tensor] = []
        for linear in mlp.linears:
            linear.register_forward_hook(lambda _, args, z, kept=kept: kept.append(z))
        out = mlp(torch.from_numpy(data.x_train[:32]).float().expand(2, -1, -1))
        cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
        first, last = torch.autograd.grad(out, [kept[0], kept[depth - 1]], cotangent)
        ratio[square] = first.double().flatten(1).norm(dim=1) / last.double().flatten(1).norm(dim=1)
    torch.testing.assert_close(
        ratio[1] / ratio[2], torch.full((2,), 2.0 ** (-(depth - 1) / 2)).double(), rtol=1e-4, atol=0
    )


# -- a seed is a seed ------------------------------------------------------------------------------------------


def same_bits(a: StackResult, b: StackResult, replicas_a: slice, replicas_b: slice) -> bool:
    layers = np.array_equal(
        stacks.layers(a)[:, :, replicas_a], stacks.layers(b)[:, :, replicas_b], equal_nan=True
    )
    scalars = np.array_equal(
        stacks.scalars(a)[:, replicas_a], stacks.scalars(b)[:, replicas_b], equal_nan=True
    )
    return layers and scalars


SHARED = {"depth": 3, "width": 24, "batch_size": 16, "steps": 12, "dtype": "float32", "metrics": "full"}


@pytest.mark.parametrize(
    "flags",
    [
        *(
            {"activation": name}
            for name in ("relu", "tanh", "linear", "gelu", "prelu:per=unit", "hard_swish", "softmax", "erf")
        ),
        *({"activation": name} for name in ("sigmoid", "mish", "elu", "selu", "softplus", "silu")),
        {"optimizer": "adam", "weight_decay": 0.01, "clip": 0.5},
        {"optimizer": "nesterov", "clip": 0.1},
        {"optimizer": "rmsprop"},
        {"norm": "batch", "residual": "pre"},
        {"norm": "layer", "residual": "fixup"},
        {"norm": "rms", "dtype": "float64"},
        {"loss": "mse"},
        {"dtype": "bfloat16", "activation": "relu", "steps": 0},
        {"width": 7, "batch_size": 5, "activation": "relu"},
    ],
    ids=lambda flags: "-".join(map(str, flags.values())),
)
def test_a_seed_alone_is_the_seed_in_a_stack_bit_for_bit(flags: dict[str, object]) -> None:
    together = stacks.train(**{**SHARED, **flags, "seeds": 5})
    alone = stacks.train(**{**SHARED, **flags, "seeds": 1, "first_seed": 3})
    assert same_bits(together, alone, slice(3, 4), slice(0, 1))
    assert not same_bits(together, alone, slice(2, 3), slice(0, 1))


@pytest.mark.parametrize("activation", ["sigmoid", "mish", "elu", "selu", "softplus"])
def test_odd_sizes_of_vectorised_kernels_agree_to_rounding(activation: str) -> None:
    """Where batch x width is no multiple of 16 the kernel's tail takes other instructions: 1e-7 an update."""
    flags = {
        **SHARED,
        "width": 7,
        "batch_size": 5,
        "activation": activation,
        "steps": 1,
        "metrics": "standard",
    }
    together = stacks.train(**{**flags, "seeds": 5})
    alone = stacks.train(**{**flags, "seeds": 1, "first_seed": 3})
    for name in ("delta_rms", "h_rms", "weight_grad_norm", "z_std"):
        np.testing.assert_allclose(
            stacks.column(together, name)[:, :, 3], stacks.column(alone, name)[:, :, 0], rtol=2e-6
        )


def test_bfloat16_seeds_agree_to_its_own_rounding() -> None:
    """Torch's update in bfloat16 rounds once in its vector part and twice in the tail of an odd-sized parameter."""
    flags = {**SHARED, "activation": "tanh", "dtype": "bfloat16", "steps": 3}
    together, alone = stacks.train(**flags, seeds=5), stacks.train(**flags, seeds=1, first_seed=3)
    for name in ("delta_rms", "z_std", "weight_norm"):
        np.testing.assert_allclose(
            stacks.column(together, name)[:, :, 3], stacks.column(alone, name)[:, :, 0], rtol=2**-7
        )


def final_weights(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Train and return every parameter and buffer after the last update."""
    from gradlab.train import loop

    kept = []

    def keep(*args: object) -> object:
        kept.append(build_stack(*args))  # type: ignore[arg-type]
        return kept[-1]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "build_stack", keep)
        train_stack(stack, stack.cell.dataset())
    return [*kept[0].parameters(), *kept[0].buffers()]


@pytest.mark.parametrize(
    "flags",
    [
        {"activation": "relu"},
        {"activation": "sigmoid", "optimizer": "nesterov", "clip": 0.1, "weight_decay": 0.01},
        {"activation": "prelu", "optimizer": "adam", "norm": "batch", "residual": "skipinit"},
        {"activation": "elu", "optimizer": "rmsprop", "dtype": "bfloat16", "batch_size": 1},
        {"activation": "softmax", "norm": "layer:position=post", "residual": "rezero"},
    ],
    ids=lambda flags: "-".join(map(str, flags.values())),
)
def test_recording_changes_no_bit_of_the_weights(
    flags: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    import random

    torch.manual_seed(7)
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    finals = [
        final_weights(stacks.make_stack(**{**SHARED, **flags, **recording}), monkeypatch)
        for recording in (
            {"record": "off"},
            {"record": "all", "metrics": "standard"},
            {"record": "log", "metrics": "full", "probe": "all"},
            {"record": "every:3", "metrics": "full", "probe": "1"},
        )
    ]
    initial = build_stack(stack := stacks.make_stack(**{**SHARED, **flags}), stack.cell.dataset())
    assert not torch.equal(finals[0][0], initial.hidden[0].linear.weight)
    for other in finals[1:]:
        for a, b in zip(finals[0], other, strict=True):
            assert torch.equal(a, b)
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()


def test_pairs_share_draws_and_batches_across_activations_and_depths() -> None:
    def weights(**flags: object) -> list[torch.Tensor]:
        stack = stacks.make_stack(init="lecun", **flags)
        return [linear.weight for linear in build_stack(stack, stack.cell.dataset()).linears]

    relu, tanh, deep = (
        weights(activation="relu"),
        weights(activation="tanh"),
        weights(activation="relu", depth=7),
    )
    assert all(torch.equal(a, b) for a, b in zip(relu, tanh, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(relu[:3], deep[:3], strict=True))
    scaled = weights(activation="relu")
    wide = build_stack(
        stack := stacks.make_stack(activation="relu", init="gaussian:sigma_w=3"), stack.cell.dataset()
    )
    for a, linear in zip(scaled, wide.linears, strict=True):
        torch.testing.assert_close(3 * a, linear.weight, rtol=1e-14, atol=0)
    runs = [stacks.train(activation=a, steps=5, init="constant:value=0") for a in ("relu", "tanh")]
    loss = [stacks.scalars(run)[0, :, 0] for run in runs]
    assert np.array_equal(loss[0], loss[1])
    accuracy = [stacks.scalars(run)[:, :, 1] for run in runs]
    assert np.array_equal(accuracy[0], accuracy[1]), (
        "constant outputs: the same batches give the same accuracies"
    )


# -- depth, width and number formats ---------------------------------------------------------------------------


def test_float64_shows_the_gradient_that_float32_loses() -> None:
    flags = {"activation": "sigmoid", "depth": 70, "width": 32, "batch_size": 32, "steps": 0}
    wide = stacks.train(**flags)
    narrow = stacks.train(**flags, dtype="float32")
    delta_wide, delta_narrow = stacks.column(wide, "delta_rms")[0], stacks.column(narrow, "delta_rms")[0]
    assert (delta_wide[0] > 0).all() and (delta_wide[0] < 1e-44).all()
    assert (delta_narrow[0] == 0).all()
    assert (stacks.column(narrow, "grad_zero_fraction")[0, 0] == 1).all()
    assert (stacks.column(wide, "grad_zero_fraction")[0] == 0).all()
    assert (stacks.column(narrow, "nonfinite")[0] == 0).all()
    reachable = delta_wide > 1e-33  # above that the two formats agree: the norms do not underflow first
    assert (delta_wide[reachable] < 1e-30).any()
    np.testing.assert_allclose(delta_narrow[reachable], delta_wide[reachable], rtol=1e-3)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_depth_200(activation: str) -> None:
    result = stacks.train(activation=activation, depth=200, width=8, steps=2, dtype="float32", norm="none")
    assert result.layers.places["name"][0] == "hidden_1"
    assert result.layers.places["name"][-2:] == ("hidden_200", "output")
    assert result.layers.values.shape[:3] == (2, 3, 201)
    assert np.isfinite(stacks.column(result, "weight_norm")).all()
    assert (stacks.column(result, "nonfinite") == 0).all()


def test_deep_sigmoid_in_float64_below_the_squares_of_float64() -> None:
    """At depth 300 delta is around 1e-190 in layer 1: its square is 0 in float64, its recorded norm is not."""
    result = stacks.train(activation="sigmoid", depth=300, width=16, steps=0, seeds=1)
    delta = stacks.column(result, "delta_rms")[0, :, 0]
    assert 0 < delta[0] < 1e-170
    steps = np.diff(np.log10(delta[:-1]))
    assert steps.std() < 0.1 and (steps > 0).all(), "one factor a layer, all the way down"
    assert stacks.column(result, "weight_grad_norm")[0, 0, 0] > 0


def test_bfloat16_trains_and_is_recorded() -> None:
    flags = {"activation": "relu", "depth": 2, "width": 16, "batch_size": 16, "steps": 30, "lr": 0.1}
    coarse, fine = stacks.train(**flags, dtype="bfloat16", metrics="full"), stacks.train(**flags)
    assert np.isfinite(coarse.layers.values[:, coarse.layers.applies]).any()
    for name, rtol in (
        ("delta_rms", 0.03),
        ("weight_norm", 0.01),
        ("h_rms", 0.02),
        ("weight_grad_norm", 0.05),
    ):
        np.testing.assert_allclose(
            stacks.column(coarse, name)[0], stacks.column(fine, name)[0], rtol=rtol, equal_nan=True
        )
    assert stacks.scalars(coarse)[-1, 0, 0] < stacks.scalars(coarse)[0, 0, 0]


def test_a_run_that_diverges_is_recorded_as_it_is() -> None:
    result = stacks.train(activation="relu", lr=1e18, steps=6, dtype="float32", metrics="full")
    assert (stacks.column(result, "nonfinite")[-1] > 0).all()
    assert not np.isfinite(stacks.scalars(result)[-1, :, 0]).any()
    assert not np.isfinite(stacks.column(result, "delta_rms")[-1]).any()
    assert not np.isfinite(stacks.column(result, "weight_grad_p95")[-1]).any()
