"""The metric core against numbers known beforehand and against NumPy, where squares underflow most of all."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from gradlab.nn import statistics as st
from gradlab.parts import record_schedule

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((3, 7, 5))


@pytest.mark.parametrize(
    ("dtype", "size", "rel"),
    [
        (torch.float32, 1e-30, 1e-6),  # the squares are 0 in float32
        (torch.float32, 1e-42, 1e-2),  # subnormal: one part in 700 is all there is
        (torch.float32, 1e30, 1e-6),  # the squares are inf in float32
        (torch.bfloat16, 1e-30, 1e-2),
        (torch.float64, 1e-170, 1e-13),  # the squares are 0 even in float64
        (torch.float64, 1e-315, 1e-7),
        (torch.float64, 1e300, 1e-13),
        (torch.float64, 1.0, 1e-14),
    ],
)
def test_norms_survive_where_squares_do_not(dtype: torch.dtype, size: float, rel: float) -> None:
    x = torch.from_numpy(X * size).to(dtype)
    expected = np.sqrt((X**2).sum(axis=(1, 2)))
    norm, rms = st.norm(x), st.rms(x)
    assert norm.dtype == torch.float64
    np.testing.assert_allclose(norm.numpy() / size, expected, rtol=rel)
    np.testing.assert_allclose(rms.numpy() / size, expected / np.sqrt(35), rtol=rel)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_norms_of_zero_nan_and_infinity_each_stay_in_their_replica(dtype: torch.dtype) -> None:
    x = torch.ones(5, 2, 2, dtype=dtype)
    x[0] = 0.0
    x[1, 0, 0] = torch.nan
    x[2, 0, 0] = -torch.inf
    x[3, 0, 0], x[3, 1, 1] = torch.inf, torch.nan
    norm = st.norm(x).tolist()
    assert norm[0] == 0.0
    assert np.isnan(norm[1])
    assert norm[2] == np.inf
    assert np.isnan(norm[3])
    assert norm[4] == 2.0
    assert st.nonfinite(x).tolist() == [0, 1, 1, 2, 0]


def test_one_replica_does_not_set_anothers_scale() -> None:
    x = torch.tensor([[1e-200, 1e-200], [1e200, 1e200]], dtype=torch.float64)
    np.testing.assert_allclose(st.norm(x).numpy(), [2**0.5 * 1e-200, 2**0.5 * 1e200], rtol=1e-15)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("entries", [1, 2, 20, 35, 1001])
def test_percentile_is_numpys(share: float, entries: int) -> None:
    x = GENERATOR.standard_normal((2, entries))
    np.testing.assert_allclose(
        st.percentile(torch.from_numpy(x), share).numpy(),
        np.percentile(x, 100 * share, axis=1),
        rtol=1e-13,
        atol=1e-15,
    )


def test_percentile_of_what_is_not_a_number() -> None:
    x = torch.tensor([[1.0, torch.nan, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]])
    low = st.percentile(x, 0.05)
    assert torch.isnan(low[0]) and low[1].item() == pytest.approx(1.15)


# A pairwise float32 sum of n entries errs by about log2(n) halves of a unit in the last place, 2^-24 each; the blocks
# that are summed one after another within it are 16 vectors long. 2^-20 covers both for every n used here.
PAIRWISE = 2.0**-20


def test_means_do_not_stop_counting_where_a_running_float32_sum_does() -> None:
    """20 million ones: a running float32 sum stops at 2^24, a pairwise one does not."""
    x = torch.ones(1, 1, 1000, dtype=torch.float32).expand(1, 20000, 1000)
    assert st.mean(x).item() == 1.0
    assert st.norm(x * 0.1).item() == pytest.approx(np.float32(0.1) * 20e6**0.5, rel=PAIRWISE)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e4, -1e6])
def test_mean_and_deviation_keep_a_small_spread_about_a_large_mean(offset: float) -> None:
    x = torch.from_numpy(offset + X).float()
    mean, std = st.mean_std(x)
    exact = x.double().numpy().reshape(3, -1)
    scale = np.abs(exact).mean(axis=1)
    np.testing.assert_array_less(np.abs(mean.numpy() - exact.mean(axis=1)), PAIRWISE * scale)
    np.testing.assert_allclose(std.numpy(), exact.std(axis=1), rtol=PAIRWISE)


def test_the_spread_of_a_constant_is_zero() -> None:
    assert st.mean_std(torch.full((2, 9, 5), 0.1))[1].tolist() == [0.0, 0.0]


def test_sums_beyond_float32_are_taken_in_float64() -> None:
    x = torch.full((2, 4, 5), 3e38)
    x[1] = 1.0
    np.testing.assert_allclose(st.mean(x).numpy(), [3e38, 1.0], rtol=1e-6)
    np.testing.assert_allclose(st.mean_abs(-x).numpy(), [3e38, 1.0], rtol=1e-6)
    np.testing.assert_allclose(st.norm(x).numpy(), [3e38 * 20**0.5, 20**0.5], rtol=1e-6)


def test_mean_of_float32_entries_below_its_normal_range() -> None:
    x = torch.full((1, 4), 1e-43, dtype=torch.float32)
    assert st.mean_abs(-x).item() == pytest.approx(x[0, 0].item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_replica_has_the_same_statistics_alone(dtype: torch.dtype) -> None:
    x = torch.from_numpy(GENERATOR.standard_normal((8, 64, 37))).to(dtype)
    for function in (
        st.norm,
        st.rms,
        st.mean,
        st.mean_abs,
        lambda t: st.mean_std(t)[1],
        lambda t: st.percentile(t, 0.95),
    ):
        assert torch.equal(function(x)[3:4], function(x[3:4].clone()))


# -- the schedule ----------------------------------------------------------------------------------------------


def recorded(text: str, steps: int) -> list[int]:
    wanted = record_schedule.parse(text)
    assert wanted is not None
    return [step for step in range(steps + 1) if wanted(step)]


def test_log_schedule_is_dense_first_then_geometric() -> None:
    steps = recorded("log", 1000)
    assert steps[:6] == [0, 1, 2, 3, 4, 5]
    assert 28 <= len(steps) <= 36
    assert all(b - a <= max(1, 0.2 * a + 1) for a, b in pairwise(steps))
    assert recorded("log", 100) == [step for step in steps if step <= 100], "not a matter of the run's length"
    assert len(recorded("log", 100_000)) < 70


def test_a_schedule_may_be_asked_in_any_order() -> None:
    wanted = record_schedule.parse("log")
    assert wanted is not None
    assert wanted(6) and not wanted(7) and wanted(0)
    assert [step for step in range(1001) if wanted(step)] == recorded("log", 1000)


@pytest.mark.parametrize(("text", "steps", "count"), [
    ("all", 3, 4), ("all", 0, 1), ("every:30", 62, 4), ("every:30", 60, 3),
    ("log", 1000, 34), ("log", 1, 2), ("off", 9, 2),
])  # fmt: skip
def test_the_first_and_the_last_step_are_recorded_whatever_the_schedule(
    text: str, steps: int, count: int
) -> None:
    wanted = record_schedule.parse(text)
    assert record_schedule.count(wanted, steps) == count
    assert [record_schedule.is_due(wanted, step, steps) for step in range(steps + 1)].count(True) == count
    assert record_schedule.is_due(wanted, 0, steps) and record_schedule.is_due(wanted, steps, steps)


def test_records_of_a_run_without_end_are_counted_at_once() -> None:
    assert record_schedule.count(record_schedule.parse("all"), 10**15) == 10**15 + 1
    assert record_schedule.count(record_schedule.parse("log"), 10**15) < 250


def test_other_schedules() -> None:
    assert recorded("all", 3) == [0, 1, 2, 3]
    assert recorded("every:3", 7) == [0, 3, 6]
    assert record_schedule.parse("off") is None


@pytest.mark.parametrize("size", [2e-18, 1e-18, 1e-20, 1e-21, 3e-22])
def test_squares_near_float32s_end_keep_its_precision(size: float) -> None:
    """Their squares, 1e-36 to 1e-43, are there but have lost digits: such a sum is taken again in float64."""
    x = torch.from_numpy(X * size).float()
    exact = np.sqrt((x.double().numpy() ** 2).sum(axis=(1, 2)))
    np.testing.assert_allclose(st.norm(x).numpy(), exact, rtol=1e-6)
