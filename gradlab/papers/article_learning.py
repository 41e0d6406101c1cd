"""The article's claims about learning: non-linearity (1), leaky ReLU (11), PReLU (12)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gradlab.papers.claims import decide, measurement
from gradlab.papers.random_nets import many_nets, random_nets
from gradlab.papers.rows import Finding, Measured, Panel, Series, absolute, exactly, mean_of, share_of
from gradlab.papers.training import last, trained
from gradlab.parts import optimizers


def non_linearity(quick: bool) -> Iterator[Finding]:
    names = ["linear", "relu", "tanh"]
    settings = {"depth": 3, "width": 32, "optimizer": "adam", "lr": 0.01, "seeds": 3, "record": "off"}
    accuracy: dict[tuple[str, str], Measured] = {}
    for data in ("moons", "spirals"):
        result = trained(activation=names, data=data, steps=300 if quick else 600, **settings)
        for name in names:
            accuracy[data, name] = mean_of(last(result, "val_accuracy", activation=name))
            yield measurement(1, f"{data}, {name}", "accuracy of three hidden layers", accuracy[data, name])
    bend = _bend("linear")
    yield measurement(
        1,
        "a linear net is a line",
        "largest bend of a deep linear net along a line: f at the middle minus the mean of the ends, relative",
        exactly(bend),
        published=0.0,
        tolerance=absolute(0.0, 1e-12, "rounding of float64"),
        provenance="D",
    )
    margin = {
        (d, n): accuracy[d, n].value - accuracy[d, "linear"].value
        for d in ("moons", "spirals")
        for n in names[1:]
    }
    yield decide(
        1,
        "activations bring non-linearity; without them no non-linear boundary can be learned",
        [
            (
                f"a linear net does not bend ({bend:.1g}), a ReLU net does ({_bend('relu'):.1g})",
                bend < 1e-12 < _bend("relu"),
            ),
            *(
                (f"{n} beats linear on {d} by 0.05 or more ({m:+.2f})", m > 0.05)
                for (d, n), m in margin.items()
            ),
            (
                f"linear stays under 0.7 on spirals ({accuracy['spirals', 'linear'].value:.2f})",
                accuracy["spirals", "linear"].value < 0.7,
            ),
        ],
    )


def _bend(activation: str) -> float:
    mlp = random_nets(activation, "lecun", depth=3, width=16, seeds=4, dtype=torch.float64)
    ends = torch.randn(4, 2, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        left, middle, right = mlp(torch.stack([ends[:, 0], ends.mean(dim=1), ends[:, 1]], dim=1)).unbind(
            dim=1
        )
    return float(((left + right) / 2 - middle).abs().max() / middle.abs().max())


def leaky(quick: bool) -> Iterator[Finding]:
    """|x| by nets of 9 hidden layers of 2 units: the test on which Lu et al. 2019 found ReLU nets collapsed."""
    nets, steps = (100, 200) if quick else (400, 1000)
    cases = {
        "ReLU": "relu",
        "leaky 0.01": "leaky_relu:negative_slope=0.01",
        "leaky 0.2": "leaky_relu:negative_slope=0.2",
    }
    cut, constant = {}, {}
    for name, activation in cases.items():
        at_birth, collapsed = _collapse(activation, nets, steps)
        cut[name], constant[name] = share_of(at_birth, nets), share_of(collapsed, nets)
        yield measurement(
            11, f"cut off at birth, {name}", "nets whose first layer gets no gradient at all", cut[name]
        )
        yield measurement(
            11,
            f"collapsed, {name}",
            f"nets that give one value for all x after {steps} steps on |x|",
            constant[name],
        )
    yield decide(
        11,
        "leaky ReLU keeps a slope C below 0, keeps learning, and avoids the sparse trap",
        [
            *(
                (
                    f"no {n} net is cut off ({cut[n].value:.1%}; ReLU {cut['ReLU'].value:.1%})",
                    cut[n].value == 0,
                )
                for n in list(cases)[1:]
            ),
            *(
                (
                    f"{n} nets rarely end constant ({constant[n].value:.0%}, under 5 %)",
                    constant[n].value < 0.05,
                )
                for n in list(cases)[1:]
            ),
        ],
    )


def _collapse(activation: str, nets: int, steps: int) -> tuple[int, int]:
    """How many of `nets` get no gradient in layer 1 at birth, and how many are constant after training."""
    mlp = many_nets(
        activation, "he:gain=1.4142135623730951", depth=9, width=2, features=1, outputs=1, nets=nets
    )
    x = torch.linspace(-(3**0.5), 3**0.5, 64).reshape(1, -1, 1).expand(nets, -1, -1)
    target = x.abs()
    parameters = list(mlp.parameters())
    optimizer = optimizers.get("adam").for_stack(mlp.owners(), 0.01)
    cut = 0
    for step in range(steps):
        loss = (mlp(x) - target).square().mean(dim=(1, 2)).sum()
        gradients = torch.autograd.grad(loss, parameters)
        if step == 0:
            first: Tensor = gradients[0]
            cut = int((first == 0).flatten(1).all(dim=1).sum())
        optimizer.step(gradients, 0.01)
    with torch.no_grad():
        spread = mlp(x).std(dim=1).flatten()
    return cut, int((spread < 0.01).sum())  # |x| itself has 0.5


def prelu(quick: bool) -> Iterator[Finding]:
    slopes = (0.0, 0.01, 0.1, 0.25, 0.5)
    fixed = [f"leaky_relu:negative_slope={slope}" for slope in slopes]
    settings = {
        "depth": 5,
        "width": 32,
        "steps": 200 if quick else 800,
        "seeds": 3 if quick else 5,
        "record": "every:100",
    }
    result = trained(activation=["prelu", *fixed], init="he:gain=1.4142135623730951", **settings)
    layers = result.layers[result.layers["activation"] == "prelu"]
    layers = layers[layers["layer"] <= 5]
    steps = sorted(layers["step"].unique())
    alpha = layers.groupby(["layer", "step"])["alpha"].mean()
    end = layers[layers["step"] == steps[-1]]
    for layer in range(1, 6):
        yield measurement(
            12,
            f"C of layer {layer}",
            "PReLU's learned slope, from 0.25 (digits)",
            mean_of(end[end["layer"] == layer]["alpha"]),
        )
    names = [str(name) for name in result.summary["activation"]]
    loss = {name: np.array(last(result, "val_loss", activation=name)) for name in names}
    for name in names:
        yield measurement(12, f"loss, {name}", "validation loss after training (digits)", mean_of(loss[name]))
    best = min((name for name in names if name != "prelu"), key=lambda name: float(loss[name].mean()))
    difference = mean_of(loss["prelu"] - loss[best])
    yield measurement(
        12, "PReLU against the best C", f"its loss minus that of {best}, same seeds", difference
    )
    moved = float((end["alpha"] - 0.25).abs().mean())
    yield decide(
        12,
        "PReLU learns the best slope C itself",
        [
            (f"the slopes move (by {moved:.3f} on average, over 0.01)", moved > 0.01),
            (
                f"PReLU is not worse than the best fixed C beyond noise ({difference.value:+.4f})",
                not difference.low > 0,
            ),
            (
                f"it ends nearer to the best fixed C ({best.partition('=')[2] or 0.01}) than it began",
                abs(float(end["alpha"].mean()) - float(best.partition("=")[2] or 0.01))
                < abs(0.25 - float(best.partition("=")[2] or 0.01)),
            ),
        ],
    )
    yield Panel(
        "PReLU's slopes in training",
        "step",
        "C",
        [Series(f"layer {layer}", [float(s) for s in steps], list(alpha[layer])) for layer in range(1, 6)],
    )
