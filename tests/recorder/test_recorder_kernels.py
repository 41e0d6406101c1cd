"""The slopes that the probe's meter takes from a backward kernel alone, beside what autograd gives."""

import pytest
import torch
import torch.nn.functional as F

from gradlab.activations.modules import slope_of
from gradlab.recorder.task import _spread
from gradlab.recorder.torch_activations import FUNCTIONS, shape_of

CALLS = {
    "tanh": (torch.tanh, {}),
    "sigmoid": (torch.sigmoid, {}),
    "gelu": (F.gelu, {}),
    "gelu by tanh": (F.gelu, {"approximate": "tanh"}),
    "silu": (F.silu, {}),
    "hardswish": (F.hardswish, {}),
    "leaky_relu": (F.leaky_relu, {"negative_slope": 0.3}),
    "elu": (F.elu, {"alpha": 0.7}),
    "selu": (F.selu, {}),
    "softplus": (F.softplus, {}),
}
EDGES = torch.tensor([0.0, -0.0, 1.0, -3.0, 3.0, 25.0, -25.0, torch.inf, -torch.inf, torch.nan])


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_kernels_slope_is_autograds_to_the_last_bit(name: str, dtype: torch.dtype) -> None:
    function, arguments = CALLS[name]
    z = torch.cat([3 * torch.randn(997, generator=torch.Generator().manual_seed(1)), EDGES]).to(dtype)
    shape = shape_of(FUNCTIONS[function], (z,), arguments)
    assert shape is not None and shape.kernels is not None
    kept = function(z, **arguments) if shape.kernels.of_output else z
    slope = torch.empty_like(z)
    shape.kernels.backward(torch.ones_like(z), kept, slope)
    expected = slope_of(lambda x: function(x, **arguments), z)
    assert torch.equal(slope.nan_to_num(nan=7.0), expected.nan_to_num(nan=7.0))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (F.softplus, {"beta": 2.0}),
        (F.softplus, {"threshold": 3.0}),
        (F.elu, {"inplace": True}),
        (torch.selu, {"inplace": True}),
    ],
)
def test_what_another_formula_gives_has_no_kernel(function: object, arguments: dict[str, object]) -> None:
    shape = shape_of(FUNCTIONS[function], (torch.zeros(3),), arguments)
    assert shape is not None and shape.kernels is None


@pytest.mark.parametrize("apart", [1.0, 1e-3, 1e-8])
def test_the_outputs_spread_is_that_in_float64(apart: float) -> None:
    draw = torch.Generator().manual_seed(2)
    outputs = 0.06 + apart * torch.randn(128, 10, generator=draw)
    expected = outputs.double().std(dim=0, correction=0).square().mean().sqrt()
    # float32's rounding of differences, squares and two means
    assert float(_spread(outputs)) == pytest.approx(float(expected), rel=4 * torch.finfo(torch.float32).eps)
