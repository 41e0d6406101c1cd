"""Attenuation, decay per layer and intervals, against np.polyfit and scipy.stats."""

import numpy as np
import pytest
from scipy import stats

from gradlab.analyse.decay import attenuation, decay_per_layer, fit_line
from gradlab.analyse.seeds import mean_interval, paired_difference


def test_a_geometric_profile_gives_its_own_factor() -> None:
    delta = 1e-3 * 0.236 ** np.arange(20)[::-1]  # layer 1 is 19 layers below the top
    assert decay_per_layer(delta) == pytest.approx(0.236, rel=1e-12)
    assert attenuation(delta) == pytest.approx(19 * np.log10(0.236), rel=1e-12)
    assert fit_line(delta).r_squared == pytest.approx(1)


def test_decay_is_the_least_squares_line_through_the_positive_layers() -> None:
    rng = np.random.default_rng(0)
    delta = np.exp(rng.normal(size=(4, 3, 9)))
    delta[1, 2, [0, 4]] = 0.0
    found = decay_per_layer(delta)
    assert found.shape == (4, 3)
    distance = np.arange(8, -1, -1)
    for i in np.ndindex(4, 3):
        keep = delta[i] > 0
        slope, _ = np.polyfit(distance[keep], np.log10(delta[i][keep]), 1)
        assert found[i] == pytest.approx(10**slope, rel=1e-10)
        r = np.corrcoef(distance[keep], np.log10(delta[i][keep]))[0, 1]
        assert fit_line(delta[i]).r_squared == pytest.approx(r * r, rel=1e-9)


@pytest.mark.parametrize("delta", [[1.0], [0.0, 0.0, 3.0], [0.0, 0.0], [np.nan, np.nan, 1.0]])
def test_decay_needs_two_layers(delta: list[float]) -> None:
    assert np.isnan(decay_per_layer(delta))


def test_attenuation_at_the_edges() -> None:
    assert attenuation([0.0, 1e-3, 1.0]) == -np.inf
    assert attenuation([0.0, 0.0]) == -np.inf
    assert attenuation([2.0]) == 0
    assert attenuation([1.0, 0.0]) == np.inf
    assert np.isnan(attenuation([np.nan, 1.0])) and np.isnan(attenuation([0.0, np.nan]))
    assert attenuation([1e-300, 1e200]) == pytest.approx(-500), "a ratio beyond float64"
    assert decay_per_layer([1e-300, 1e200]) == 0.0


def test_interval_is_students() -> None:
    x = np.random.default_rng(1).normal(size=(5, 4))
    mean, half, n = mean_interval(x)
    low, high = stats.t.interval(0.95, 3, loc=x.mean(1), scale=stats.sem(x, axis=1))
    np.testing.assert_allclose(mean - half, low)
    np.testing.assert_allclose(mean + half, high)
    assert n == 4


def test_one_seed_has_a_mean_and_no_interval() -> None:
    mean, half, n = mean_interval([0.3])
    assert mean == 0.3 and np.isnan(half) and n == 1


def test_no_seed_is_dropped_silently() -> None:
    assert np.isnan(mean_interval([1.0, np.nan, 2.0]).mean)
    mean, half, _ = mean_interval([-np.inf, -3.0])
    assert mean == -np.inf and np.isnan(half)


def test_paired_difference_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=6)
    b = a - 0.1 + 0.05 * rng.normal(size=6)
    found = paired_difference(a, b)
    reference = stats.ttest_rel(a, b)
    interval = reference.confidence_interval()
    assert found.p_value == pytest.approx(reference.pvalue, rel=1e-9)
    assert found.mean - found.half_width == pytest.approx(interval.low)
    assert found.mean + found.half_width == pytest.approx(interval.high)
    assert found.within_noise == (interval.low <= 0 <= interval.high)


def test_one_pair_is_within_the_noise_and_equal_pairs_have_none() -> None:
    assert paired_difference([1.0], [0.0]).within_noise
    assert paired_difference([np.nan, 1.0], [0.0, 0.0]).within_noise
    same = paired_difference([1.0, 2.0], [1.0, 2.0])
    assert same.mean == 0 and same.p_value == 1 and same.within_noise
    assert not paired_difference([1.0, 2.0], [0.5, 1.5]).within_noise
