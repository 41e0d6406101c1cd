"""The metrics by themselves: every measured column has its function, and each counts what its definition says."""

import pytest
import torch
from torch import Tensor

from gradlab.nn.workspace import OneModel, Workspace
from gradlab.sensors import metrics
from gradlab.tables.layers import LAYERS_FULL

F64 = torch.float64
Z = torch.randn(2, 50, 7, dtype=F64, generator=torch.Generator().manual_seed(0))
SPACE = Workspace()


def numbers(found: metrics.Found, column: str) -> Tensor:
    return torch.as_tensor(found[column], dtype=F64)


def test_every_measured_column_is_filled_by_a_function_here() -> None:
    inactive = metrics.samples_inside(metrics.BELOW_ZERO, Z, SPACE)
    dead, shares = metrics.dead_units(inactive, 50)
    broken = Z.clone()
    broken[0, 0, 0] = torch.nan
    weights = metrics.weight_size(Z, SPACE)
    families = [
        metrics.signal(Z, SPACE),
        metrics.activation(Z, SPACE, True),
        metrics.slopes(Z.clone(), 1.0, SPACE),
        metrics.alike(metrics.first_samples(Z)),
        metrics.tokens_alike(metrics.first_positions(Z).unsqueeze(0)),
        metrics.effective_rank(metrics.some_rows(Z)),
        metrics.learned_slope(Z),
        shares,
        metrics.changes(dead, dead),
        metrics.dead_on_batch(inactive, 50),
        metrics.zeros(SPACE.nonzeros(Z), 350),
        metrics.nonfinite(broken, SPACE),
        metrics.delta(Z, SPACE),
        metrics.gains([4.0], [(column, [2.0]) for column in metrics.GAINS]),
        metrics.weight_gradient(Z, SPACE, True, 350),
        metrics.bias_gradient(Z, SPACE),
        weights,
        metrics.update(Z, weights["weight_norm"], SPACE, True),
    ]
    filled = [column for family in families for column in family]
    assert len(filled) == len(set(filled))
    assert set(filled) == set(LAYERS_FULL.measured)


@pytest.mark.parametrize("intervals", [(), ((-torch.inf, -0.3),), ((0.5, torch.inf), (-0.2, 0.1))])
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16])
def test_samples_are_counted_for_each_unit_whichever_axis_it_is_on(
    intervals: tuple[tuple[float, float], ...], dtype: torch.dtype
) -> None:
    z = torch.randn(6, 4, 3, 5, generator=torch.Generator().manual_seed(1)).to(dtype)  # four channels
    z[0, 1, 2, 3] = torch.nan
    inside = torch.zeros_like(z, dtype=torch.bool)
    for low, high in intervals:
        inside |= (z >= low) & (z <= high)
    counts = metrics.samples_inside(intervals, z, OneModel(), (0, 2, 3))
    assert counts.tolist() == inside.sum(dim=(0, 2, 3)).tolist()


def test_a_unit_is_rarely_active_below_one_in_a_hundred_samples() -> None:
    inactive = torch.tensor([[300, 298, 297, 0]])
    dead, shares = metrics.dead_units(inactive, 300)
    assert dead.tolist() == [[True, False, False, False]]
    assert numbers(shares, "dead_fraction").tolist() == [0.25]
    rare = numbers(shares, "low_activity_fraction").tolist()
    assert rare == [0.5], "3 of 300 are one in a hundred, not fewer"


def test_a_unit_is_saturated_below_a_twentieth_of_the_steepest_slope() -> None:
    slope = torch.tensor([[[0.2, 0.0999], [-0.0999, 0.1], [-0.1, 2.0], [0.0, -2.0]]], dtype=F64)
    assert numbers(metrics.slopes(slope, 2.0, SPACE), "saturated_fraction").tolist() == [3 / 8]


@pytest.mark.parametrize(
    ("first", "second"), [(0.0, 1.0), (0.2, 1.0), (0.01, 1.0), (20.0, 1.0), (-1.0, 0.04)]
)
def test_two_slopes_counted_are_the_slopes_themselves(first: float, second: float) -> None:
    inside = Z <= 0
    slope = torch.full_like(Z, second).masked_fill(inside, first)
    plain = metrics.slopes(slope, max(abs(first), abs(second)), SPACE)
    counted = metrics.two_slopes(inside.sum(dim=1)[None], 50, first, second)
    for column in plain:
        torch.testing.assert_close(numbers(counted, column)[0], numbers(plain, column), rtol=1e-14, atol=0)


def test_a_delta_in_two_passes_is_the_delta_in_one() -> None:
    whole = metrics.delta(Z, SPACE)
    parts = [Z[:, :20] * 2.5, Z[:, 20:] * (5 / 3)]  # the gradients of means over 20 and over 30 samples
    norms = [torch.as_tensor(SPACE.norm(part), dtype=F64) for part in parts]
    for scale in (None, torch.tensor(1024.0)):
        scaled = [norm * (1.0 if scale is None else 1024.0) for norm in norms]
        found = metrics.delta_of_passes(scaled, [20.0, 30.0], 350, scale)
        torch.testing.assert_close(numbers(found, "delta_rms"), numbers(whole, "delta_rms"))
        on_host = metrics.delta_of_passes([float(norm[0]) for norm in scaled], [20.0, 30.0], 350, scale)
        torch.testing.assert_close(numbers(on_host, "delta_rms"), numbers(whole, "delta_rms")[:1])


def test_a_sparse_gradient_counts_the_zeros_that_it_does_not_store() -> None:
    dense = torch.zeros(2, 40, dtype=F64)
    dense[:, ::4] = Z[:, :10, 0]
    expected = metrics.weight_gradient(dense, SPACE, True, 40)
    stored = metrics.weight_gradient(dense[:, ::4].clone(), SPACE, True, 40)
    nothing = metrics.weight_gradient(dense[:, :0], SPACE, True, 40)
    for column, value in expected.items():
        torch.testing.assert_close(numbers(stored, column), torch.as_tensor(value, dtype=F64))
        assert numbers(nothing, column).tolist() == [float(column == "grad_zero_fraction")] * 2


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16])
@pytest.mark.parametrize("name", ["norm", "rms", "mean", "nonzeros"])
def test_a_model_without_a_replica_axis_has_the_numbers_of_a_stack_of_one(
    name: str, dtype: torch.dtype
) -> None:
    """Of any shape and memory layout, and where the squares leave float32."""
    for size in (1.0, 1e-25, 1e25):
        x = (torch.randn(3, 4, 5, 2, generator=torch.Generator().manual_seed(2)) * size).to(dtype)
        for each in (x, x.permute(3, 1, 0, 2), x[0, 0, 0, 0], x[:0, 0]):
            if name == "nonzeros" or each.numel():
                alone = getattr(OneModel(), name)(each)
                stacked = getattr(Workspace(), name)(each.reshape(1, -1))
                torch.testing.assert_close(
                    torch.as_tensor(alone, dtype=F64), torch.as_tensor(stacked, dtype=F64), rtol=1e-6, atol=0
                )


def test_of_a_scaled_loss_every_number_is_that_of_the_loss() -> None:
    plain = metrics.weight_gradient(Z, SPACE, True, 350)
    scaled = metrics.weight_gradient(Z * 1024, SPACE, True, 350, torch.tensor(1024.0, dtype=F64))
    assert set(scaled) == set(plain) >= {"weight_grad_p05", "weight_grad_p95"}
    for column in plain:
        torch.testing.assert_close(numbers(scaled, column), numbers(plain, column), rtol=1e-12, atol=0)


@pytest.mark.parametrize("offset", [0.0, 0.5, 1e4])
def test_a_model_without_a_replica_axis_has_the_spread_of_a_stack_of_one(offset: float) -> None:
    x = (torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(2)) + offset).float()
    for alone, stacked in zip(OneModel().mean_std(x), Workspace().mean_std(x.reshape(1, -1)), strict=True):
        torch.testing.assert_close(torch.as_tensor(alone), torch.as_tensor(stacked), rtol=1e-6, atol=1e-7)
