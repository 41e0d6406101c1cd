"""phi and phi' in NumPy, against torch's kernels and against finite differences and a fine grid."""

import numpy as np
import pytest
import torch
from scipy import special

from gradlab import activations
from gradlab.activations.modules import build_module, slope_of
from gradlab.activations.tanh import tanh
from gradlab.base.errors import ConfigError
from gradlab.nn.workspace import Workspace
from gradlab.sensors.metrics import samples_inside

VARIANTS = [
    *activations.names(),
    "leaky_relu:negative_slope=0.2",
    "leaky_relu:negative_slope=-0.5",
    "prelu:per=unit",
    "elu:alpha=1.7",
    "celu:alpha=0.4",
    "thresholded_relu:theta=0.3",
    "dks:relu",
    "dks:leaky_relu:depth=50",
    "dks:erf:zeta=3",
    "tat:tanh:depth=10",
    "tat:erf:tau=1",
]
ELEMENTWISE = [text for text in VARIANTS if activations.get(text).elementwise]
GRID = np.linspace(-9, 9, 7201) + 1e-4  # off every kink


@pytest.mark.parametrize("text", ELEMENTWISE)
def test_numpy_face_is_the_torch_kernel(text: str) -> None:
    activation = activations.get(text)
    module = build_module(activation, 1, GRID.size, (0,)).double()
    z = torch.from_numpy(GRID).reshape(1, 1, -1)
    assert activation.phi is not None and activation.slope is not None
    np.testing.assert_allclose(
        activation.phi(GRID), module(z).detach().numpy().ravel(), rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(
        activation.slope(GRID), slope_of(module.forward, z).numpy().ravel(), rtol=1e-9, atol=1e-13
    )


def test_the_sigmoid_is_scipys_out_to_where_float64_ends() -> None:
    z = np.concatenate([np.linspace(-708, 708, 100_001), -np.logspace(-20, 2.8, 1000), [-800.0, 800.0]])
    z = np.append(z, [-np.inf, np.inf, np.nan])
    phi = activations.get("sigmoid").phi
    assert phi is not None
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(phi(z), special.expit(z), rtol=4 * np.finfo(float).eps, atol=0)


@pytest.mark.parametrize("text", ELEMENTWISE)
def test_slope_is_the_derivative_of_phi(text: str) -> None:
    activation = activations.get(text)
    assert activation.phi is not None and activation.slope is not None
    step = 1e-5
    away = np.ones_like(GRID, dtype=bool)
    for kink in activation.kinks:
        away &= np.abs(GRID - kink) > 2 * step
    difference = (activation.phi(GRID + step) - activation.phi(GRID - step)) / (2 * step)
    np.testing.assert_allclose(activation.slope(GRID)[away], difference[away], atol=1e-8)


@pytest.mark.parametrize("text", ELEMENTWISE)
def test_slope_sup_is_reached_and_never_passed(text: str) -> None:
    activation = activations.get(text)
    assert activation.slope is not None and activation.slope_sup is not None
    fine = np.abs(activation.slope(np.concatenate([np.linspace(-30, 30, 2_000_001), [-1e-12, 1e-12]])))
    assert fine.max() == pytest.approx(activation.slope_sup, rel=1e-5)
    assert fine.max() <= activation.slope_sup * (1 + 1e-14)


@pytest.mark.parametrize("text", ELEMENTWISE)
def test_flat_parts_are_where_the_slope_is_exactly_zero(text: str) -> None:
    activation = activations.get(text)
    assert activation.slope is not None
    units = torch.from_numpy(GRID).reshape(1, 1, -1)  # of one sample
    flat = samples_inside(activation.flats, units, Workspace())[0].numpy()
    np.testing.assert_array_equal(flat, activation.slope(GRID) == 0.0)


def test_the_article_hard_sigmoid_and_torchs_are_two_functions() -> None:
    phi, phi_6 = activations.get("hard_sigmoid").phi, activations.get("hard_sigmoid_6").phi
    assert phi is not None and phi_6 is not None
    assert phi(np.array(1.0)) == pytest.approx(0.7)
    assert phi_6(np.array(1.0)) == pytest.approx(torch.nn.functional.hardsigmoid(torch.tensor(1.0)).item())


def test_softmax_is_over_the_features_and_has_no_slope() -> None:
    activation = activations.get("softmax")
    h = build_module(activation, 2, 5, (0, 1))(torch.randn(2, 7, 5, dtype=torch.float64))
    torch.testing.assert_close(h.sum(-1), torch.ones(2, 7, dtype=torch.float64))
    assert not activation.elementwise and activation.slope is None


def test_canonical_text_drops_what_is_the_default() -> None:
    assert activations.get("leaky_relu:negative_slope=0.01").text == "leaky_relu"
    assert activations.get("leaky_relu:negative_slope=0.20").text == "leaky_relu:negative_slope=0.2"
    assert activations.get("prelu:per=unit:init=0.1").text == "prelu:init=0.1:per=unit"
    assert activations.get("dks:relu:depth=50").text == "dks:phi=relu:depth=50"
    assert activations.get("dks:tanh").text == "dks"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sigmod", "did you mean 'sigmoid'?"),
        ("leaky_relu:slope=0.2", "no parameter 'slope'"),
        ("leaky_relu:negative_slope=x", "not a number"),
        ("leaky_relu:negative_slope=nan", "out of range"),
        ("elu:alpha=0", "a number > 0"),
        ("prelu:per=channel", "layer or unit"),
        ("dks:selu", "relu or leaky_relu or tanh"),
        ("dks:relu:phi=tanh", "'phi' is given twice"),
        ("tat:leaky_relu:depth=3", "no shift and scale of leaky_relu"),
        ("relu:negative_slope=0.1", "takes no parameters"),
        ("no_such_module:thing", "cannot import"),
        ("math:no_such_attribute", "has no attribute"),
        ("math:pi", "cannot be called"),
        ("math:sqrt", "math:sqrt failed: ValueError"),
        ("torch:sum", "same shape"),
        ("torch:zeros_like", "has no derivative"),
        ("", "has no name"),
        ("relu:=3", "key=value"),
    ],
)
def test_a_wrong_item_names_the_place_and_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        activations.get(text, "--activation", own=True)
    assert says in str(caught.value)
    assert "--activation" in str(caught.value)


def test_an_activation_that_fails_later_is_the_users_mistake(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "late_acts.py").write_text(
        "import torch, sys\n"
        "def late(x):\n    if x.shape[0] > 500:\n        raise ValueError('no more')\n    return torch.relu(x)\n"
        "def nowhere(x):\n    return x * float('nan')\n"
        "def leaves(x):\n    sys.exit(3)\n"
    )
    monkeypatch.chdir(tmp_path)
    for name, says in [
        ("late", "ValueError: no more"),
        ("nowhere", "no number"),
        ("leaves", "SystemExit: 3"),
    ]:
        with pytest.raises(ConfigError, match=says) as caught:
            activations.get(f"late_acts:{name}", "--activation", own=True)
        assert caught.value.problems[0].where == "--activation"


def test_a_users_own_activation(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "own_acts.py").write_text(
        "import torch\n"
        "def snake(x, a=1.0):\n    return x + torch.sin(a * x) ** 2 / a\n"
        "class Scaled(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.scale = torch.nn.Parameter(torch.randn(()))\n"
        "    def forward(self, x):\n        return self.scale * torch.tanh(x)\n"
        "def normed(x):\n    return x / x.norm(dim=-1, keepdim=True)\n"
    )
    monkeypatch.chdir(tmp_path)
    snake = activations.get("own_acts:snake:a=0.5", own=True)
    z = np.linspace(-2, 2, 9)
    assert snake.phi is not None and snake.slope is not None
    np.testing.assert_allclose(snake.phi(z), z + np.sin(0.5 * z) ** 2 / 0.5, rtol=1e-14)
    np.testing.assert_allclose(snake.slope(z), 1 + np.sin(z), rtol=1e-13)
    assert "def snake" in snake.source

    before = torch.random.get_rng_state()
    scaled = activations.get("own_acts:Scaled", own=True)
    module = build_module(scaled, 2, 3, (5, 6))
    assert torch.equal(before, torch.random.get_rng_state())
    assert len({p.item() for p in module.parameters()}) == 2, (
        "one instance, with its own draw, for each replica"
    )

    normed = activations.get("own_acts:normed", own=True)
    assert not normed.elementwise
    z3 = torch.randn(2, 4, 3)
    torch.testing.assert_close(build_module(normed, 2, 3, (0, 1))(z3), z3 / z3.norm(dim=-1, keepdim=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_is_right_from_the_smallest_to_the_largest(dtype: torch.dtype) -> None:
    sizes = [1e-30, 1e-10, 1e-4, 0.01, 0.3, 1.0, 2.5, 7.0, 18.0, 300.0]
    draw = np.random.default_rng(1)
    z = np.concatenate([size * draw.uniform(-1, 1, 37) for size in sizes]).astype(str(dtype).split(".")[1])
    got = tanh(torch.from_numpy(z)).numpy()
    off = (got.astype(np.longdouble) - np.tanh(z.astype(np.longdouble))) / np.spacing(np.abs(got))
    assert np.abs(off).max() <= 4  # units in the last place: what NumPy's own tests allow
    edges = torch.tensor([torch.inf, -torch.inf, torch.nan, -0.0], dtype=dtype)
    assert torch.equal(tanh(edges)[:2], torch.tensor([1.0, -1.0], dtype=dtype))
    assert tanh(edges)[2].isnan() and torch.signbit(tanh(edges)[3])


def test_tanh_of_a_part_has_the_bits_it_has_in_the_whole() -> None:
    z = torch.randn(3, 7, 13, generator=torch.Generator().manual_seed(1))
    for replica in range(3):
        assert torch.equal(tanh(z[replica].clone()), tanh(z)[replica])


def test_the_gradient_of_tanh() -> None:
    z = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(tanh, (z,))
    assert torch.autograd.gradgradcheck(tanh, (z,))
