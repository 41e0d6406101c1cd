"""The log of the gradient's norm walks at random from layer to layer, and one gain makes it unbiased (Sussillo & Abbott
2014).

A layer of N units multiplies the squared norm of delta by g^2 chi^2_N / N when it is linear, and by g^2 chi^2_M / N
with M of N units active when it is ReLU. E log of that is below log E, so that the usual gains (1 and sqrt(2)) let
the typical gradient fade; g = exp(-E log / 2) does not. The walk's variance is that of log chi^2, about 1 / (2 N) a
layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log, sqrt

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, forward_backward, many_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Row, Series, absolute, exactly, mean_of, relative

PAPER = Paper(
    name="sussillo-2014",
    title="the log of the gradient's norm is a random walk, and which gain leaves it unbiased",
    citation="Sussillo & Abbott 2014, Random walk initialization for training very deep feedforward networks",
    order=30,
)

SOURCE = "Sussillo & Abbott 2014"
PRINTED = "abstract: equations of the scaling; as TensorFlow's contrib random-walk initialiser has them"


def printed_gain(activation: str, units: int) -> float:
    """The paper's gain: weights are normal with standard deviation g / sqrt(N)."""
    if activation == "linear":
        return exp(1 / (2 * units))
    return sqrt(2) * exp(1.2 / (max(units, 6) - 2.4))


def log_step(activation: str, units: int) -> tuple[float, float]:
    """Mean and variance of the log of a layer's factor of ||delta|| at g = 1, exactly; of ReLU where a unit is active.

    log chi^2_M has the mean digamma(M / 2) + log 2 and the variance trigamma(M / 2).
    """
    if activation == "linear":
        return (float(digamma(units / 2)) + log(2 / units)) / 2, float(polygamma(1, units / 2)) / 4
    active = np.arange(1, units + 1)
    share = np.exp(gammaln(units + 1) - gammaln(active + 1) - gammaln(units - active + 1))
    share /= share.sum()
    means = digamma(active / 2) + log(2 / units)
    mean = float(share @ means)
    return mean / 2, float(share @ (polygamma(1, active / 2) + (means - mean) ** 2)) / 4


def walk(activation: str, gain: float, *, depth: int, width: int, nets: int) -> Array:
    """log ||delta|| of each layer, the readout last, less that of the readout, [net, layer]."""
    mlp = many_nets(activation, f"gaussian:sigma_w={gain!r}", depth=depth, width=width, nets=nets)
    steps: Array = np.log(forward_backward(mlp, unit_inputs(mlp, 1)).delta_rms())
    return steps - steps[:, -1:]


def reproduce(quick: bool) -> Iterator[Finding]:
    for units in (10, 100):
        mean, _ = log_step("linear", units)
        yield Row(
            row=f"gain of linear layers, N = {units}",
            statement="exp(1 / (2 N)) makes E log of a linear layer's factor 0",
            published=printed_gain("linear", units),
            measured=exactly(exp(-mean)),
            tolerance=relative(
                printed_gain("linear", units),
                1 / (3 * units**2),
                "twice the expansion's next term, 1 / (6 N^2)",
            ),
            source=f"{SOURCE}, {PRINTED}",
            provenance="P",
        )
    for units in (6, 20, 100):
        mean, _ = log_step("relu", units)
        yield Row(
            row=f"gain of ReLU layers, N = {units}",
            statement="sqrt(2) exp(1.2 / (max(N, 6) - 2.4)) makes E log of a ReLU layer's factor 0, one unit active",
            published=printed_gain("relu", units),
            measured=exactly(exp(-mean)),
            tolerance=None  # a fit, said to be one for larger layers
            if units == 6
            else relative(
                printed_gain("relu", units), 0.05 / (units - 2.4), "half of the last printed digit of 1.2"
            ),
            source=f"{SOURCE}, {PRINTED}",
            provenance="P",
        )
    width, depth, nets = 50, 60 if quick else 100, 64 if quick else 200
    lines = []
    for activation, plain in (("linear", 1.0), ("relu", sqrt(2))):
        mean, variance = log_step(activation, width)
        noise = 4 * sqrt(depth * variance / nets)
        for name, gain in (("usual gain", plain), ("printed gain", printed_gain(activation, width))):
            found = walk(activation, gain, depth=depth, width=width, nets=nets)
            drift = depth * (log(gain) + mean)
            lines.append(Series(f"{activation}, {name}", list(range(1, depth + 2)), list(found.mean(axis=0))))
            yield Row(
                row=f"drift of {activation}, {name}",
                statement=f"mean log of ||delta|| of layer 1 over the readout's, {depth} layers of {width} units",
                published=drift,
                measured=mean_of(found[:, 0]),
                tolerance=absolute(drift, noise, f"4 standard errors of {nets} walks of known variance"),
                source=f"{SOURCE}, section 2: E log of chi^2",
                provenance="D",
            )
    yield from _variance(1000 if quick else 4000)
    yield Panel("The walk, mean over nets", "layer", "log ||delta||, from the readout down", lines)


def _variance(nets: int) -> Iterator[Finding]:
    depth, spreads = 20, []
    widths = (8, 16, 32)
    for width in widths:
        _, variance = log_step("linear", width)
        found = walk("linear", 1.0, depth=depth, width=width, nets=nets)
        spreads.append(float(found[:, 0].var(ddof=1)))
        yield Row(
            row=f"variance of the walk, N = {width}",
            statement=f"variance of log ||delta|| over {depth} linear layers, in inverse proportion to the width",
            published=depth * variance,
            measured=exactly(spreads[-1]),
            tolerance=relative(
                depth * variance, 4 * sqrt(2 / (nets - 1)), f"4 standard errors of a variance of {nets} walks"
            ),
            source=f"{SOURCE}, abstract; variance of log chi^2",
            provenance="D",
        )
    yield Panel(
        f"Variance over {depth} layers",
        "width",
        "variance of log ||delta||",
        [
            Series("nets", list(widths), spreads, "points"),
            Series(
                "trigamma(N / 2) / 4 a layer",
                list(widths),
                [depth * log_step("linear", n)[1] for n in widths],
            ),
        ],
        log_x=True,
        log_y=True,
    )
