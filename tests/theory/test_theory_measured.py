"""The acceptance test of the prediction: digits, width 512, depth 20, 8 seeds, a batch of 64, every activation.

At step 0 the mean of log(measured / predicted delta_rms) over the seeds lies in the stated 4 sigma band in every
layer. The nets are written out in NumPy; only the readout's delta is measured, as the predicted column takes it.
"""

from itertools import pairwise

import numpy as np
import pytest

from gradlab import activations
from gradlab.parts import inits
from gradlab.theory import band, critical, delta_rms, predict

WIDTH, DEPTH, SEEDS, BATCH = 512, 20, 8, 64
WITHOUT_A_BAND = {("thresholded_relu", init) for init in ("he", "glorot", "lecun", "torch")}
WITHOUT_A_BAND |= {(text, "he") for text in ("gelu", "silu", "mish", "hard_swish")}
"""Units that die one by one, and q that wanders by its own size on the ridge between fading and growing."""
FANS = list(pairwise([64, *[WIDTH] * DEPTH, 10]))


@pytest.fixture(scope="module")
def batches():  # type: ignore[no-untyped-def]
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    deviation = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    order = [np.random.default_rng(1000 + seed).permutation(len(x))[:BATCH] for seed in range(SEEDS)]
    return [(x[rows], y[rows]) for rows in order]


@pytest.fixture(scope="module")
def draws():  # type: ignore[no-untyped-def]
    """Standard normal weights and biases of each seed, shared by all activations and inits."""
    generators = [np.random.default_rng(seed) for seed in range(SEEDS)]
    return [
        [(g.standard_normal(f).astype(np.float32), g.standard_normal(f[1])) for f in FANS] for g in generators
    ]


def sigmas(init: str, text: str) -> tuple[np.ndarray, np.ndarray] | None:
    if init == "critical":
        found = critical(text)
        return None if found.sigma_w is None else (np.full(DEPTH + 1, found.sigma_w), np.zeros(DEPTH + 1))
    rule = inits.get(init, activations.get(text), "init")
    assert rule.sigma_w is not None
    return np.array([rule.sigma_w(*fan) for fan in FANS]), np.array([rule.sigma_b(*fan) for fan in FANS])


def measured_and_predicted(text, sigma_w, sigma_b, draw, batch):  # type: ignore[no-untyped-def]
    activation, (x, y) = activations.get(text), batch
    h, z, weights = x, [], []
    for (normal, bias), w, b, (fan_in, _) in zip(draw, sigma_w, sigma_b, FANS, strict=True):
        weights.append(normal * (w / np.sqrt(fan_in)))
        z.append(h @ weights[-1] + b * bias)
        h = activation.phi(z[-1])
    delta = np.exp(z[-1] - z[-1].max(axis=1, keepdims=True))
    delta /= delta.sum(axis=1, keepdims=True)
    delta[np.arange(BATCH), y] -= 1
    net = predict(text, depth=DEPTH, sigma_w=sigma_w, sigma_b=sigma_b, q0=(x**2).mean(axis=1), fans=FANS)
    predicted = delta_rms(net, np.sqrt((delta**2).mean()))
    sizes = [np.sqrt((delta**2).mean())]
    for layer in range(DEPTH - 1, -1, -1):
        delta = activation.slope(z[layer]) * (delta @ weights[layer + 1].T)
        sizes.append(np.sqrt((delta**2).mean()))
    return np.array(sizes[::-1]), predicted, net


@pytest.mark.slow
@pytest.mark.parametrize("init", ["he", "glorot", "lecun", "torch", "critical"])
@pytest.mark.parametrize("text", [name for name in activations.names() if activations.get(name).elementwise])
def test_measured_delta_lies_in_the_band(text, init, batches, draws) -> None:  # type: ignore[no-untyped-def]
    scales = sigmas(init, text)
    if scales is None:
        pytest.skip(f"{text} has no critical point at sigma_b = 0")
    results = [measured_and_predicted(text, *scales, *pair) for pair in zip(draws, batches, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.mean([np.log(m[:-1] / p[:-1]) for m, p, _ in results], axis=0)
        bands = [band(net, replicas=SEEDS, reference="output") for _, _, net in results]
        low = np.log(np.mean([b.low for b in bands], axis=0))
        high = np.log(np.mean([b.high for b in bands], axis=0))
    known = np.isfinite(high)
    assert known.any() == ((text, init) not in WITHOUT_A_BAND)
    assert np.all((off[known] > low[known]) & (off[known] < high[known]))
