"""The article's claims about the functions themselves: sigmoid (2), softmax (5), hard sigmoid (6), families (13)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from gradlab import activations, theory
from gradlab.activations.modules import build_module
from gradlab.nn.draws import generator
from gradlab.papers.claims import decide, measurement
from gradlab.papers.random_nets import Array, random_nets, unit_inputs
from gradlab.papers.rows import Finding, Panel, Series, absolute, exactly, mean_of
from gradlab.papers.training import last, trained
from gradlab.parts.losses import binary_cross_entropy, cross_entropy

GRID = np.linspace(-40, 40, 160_001)
FAR = np.array([-50.0, 50.0])
FAMILIES = ("logistic", "rectifier")


def faces(name: str, z: Array) -> tuple[Array, Array]:
    """phi(z) and phi'(z) of an elementwise activation."""
    found = activations.get(name)
    assert found.phi is not None and found.slope is not None
    return found.phi(z), found.slope(z)


def sigmoid(quick: bool) -> Iterator[Finding]:
    phi, slope = faces("sigmoid", GRID)
    peak = int(slope.argmax())
    turns = int((np.diff(np.sign(np.diff(slope))) != 0).sum())
    yield measurement(
        2,
        "largest slope",
        "sigmoid's slope is largest at 0, where it is 1/4",
        exactly(slope[peak]),
        published=0.25,
        tolerance=absolute(0.25, 1e-12, "exact"),
    )
    yield decide(
        2,
        "sigmoid's output lies in [0, 1]; its gradient rises, then falls; there are asymptotes on both sides",
        [
            (f"outputs lie in [{phi.min():.3g}, {phi.max():.3g}]", bool(phi.min() >= 0 and phi.max() <= 1)),
            (f"the slope turns {turns} time, at {GRID[peak]:.1f}", turns == 1 and abs(GRID[peak]) < 1e-3),
            (
                "at +-40 it is within 1e-15 of 0 and 1 and flat",
                bool(phi[0] < 1e-15 and 1 - phi[-1] < 1e-15 and slope[[0, -1]].max() < 1e-15),
            ),
        ],
    )
    shown = np.linspace(-6, 6, 121)
    yield Panel(
        "Sigmoid and hard sigmoid",
        "z",
        "",
        [
            Series(f"{name} {what}", list(shown), list(values))
            for name in ("sigmoid", "hard_sigmoid")
            for what, values in zip(("value", "slope"), faces(name, shown), strict=True)
        ],
    )


def softmax(quick: bool) -> Iterator[Finding]:
    z = torch.randn(1, 5_000, 2, generator=generator(0, "logits"), dtype=torch.float64) * 5
    module = build_module(activations.get("softmax"), 1, 2, (0,))
    shares = module(z)
    sum_error = float((shares.sum(dim=2) - 1).abs().max())
    sigmoid_error = float((shares[..., 0] - torch.sigmoid(z[..., 0] - z[..., 1])).abs().max())
    for name, value in (("sum", sum_error), ("sigmoid of the difference", sigmoid_error)):
        yield measurement(
            5,
            name,
            f"softmax of two logits: largest error of its {name}",
            exactly(value),
            published=0.0,
            tolerance=absolute(0.0, 1e-14, "rounding of float64"),
            provenance="D",
        )
    ratio = _readout_step_ratio()
    yield measurement(
        5,
        "step of the readout",
        "one SGD step on the readout moves z_1 - z_2 of softmax this many times as far as sigmoid's logit",
        exactly(ratio),
        published=2.0,
        tolerance=absolute(2.0, 1e-9, "both logits move, in opposite directions: exact"),
        provenance="D",
    )
    result = trained(
        activation="tanh",
        depth=2,
        width=16,
        data="moons",
        lr=0.03,
        loss=["cross_entropy", "binary_cross_entropy"],
        steps=100 if quick else 300,
        seeds=3,
        record="off",
    )
    two, one = (
        np.array(last(result, "val_loss", loss=name)) for name in ("cross_entropy", "binary_cross_entropy")
    )
    yield measurement(
        5,
        "trained side by side",
        "validation loss of the one-logit readout minus the two-logit one's, same seeds (moons)",
        mean_of(one - two),
    )
    yield decide(
        5,
        "softmax sums to 1; with two classes it equals sigmoid",
        [
            (f"it sums to 1 up to {sum_error:.1g}", sum_error < 1e-14),
            (f"softmax of (z1, z2) is sigmoid(z1 - z2) up to {sigmoid_error:.1g}", sigmoid_error < 1e-14),
            (
                f"trained alike, both readouts take the same step (they do not: ratio {ratio:.3g})",
                abs(ratio - 1) < 0.01,
            ),
        ],
    )


def _readout_step_ratio() -> float:
    """Change of z_1 - z_2 over that of a single logit w = w_1 - w_2, for one step on the readout's weights."""
    pair = random_nets("tanh", "glorot", depth=2, width=16, outputs=2, seeds=1, dtype=torch.float64)
    x = unit_inputs(pair, 64)
    labels = (x[..., 0] > 0).long()
    weight = pair.readout.weight
    hidden = pair.hidden[0](x, None)[0]
    hidden = pair.hidden[1](hidden, None)[0].detach()
    single = (weight[..., 1:] - weight[..., :1]).detach().requires_grad_(True)
    (two,) = torch.autograd.grad(cross_entropy(hidden @ weight, labels).sum(), weight)
    (one,) = torch.autograd.grad(binary_cross_entropy(hidden @ single, labels).sum(), single)
    return float(((two[..., 1:] - two[..., :1]) / one).mean())


def hard_sigmoid(quick: bool) -> Iterator[Finding]:
    inside, outside = np.linspace(-2.4999, 2.4999, 999), np.concatenate([FAR, [-2.5001, 2.5001]])
    slopes = faces("hard_sigmoid", inside)[1]
    flat = faces("hard_sigmoid", outside)[1]
    gap = float(np.abs(faces("hard_sigmoid", GRID)[0] - faces("sigmoid", GRID)[0]).max())
    yield measurement(
        6,
        "slope inside",
        "slope of hard sigmoid on (-2.5, 2.5): its largest distance from 0.2",
        exactly(float(np.abs(slopes - 0.2).max())),
        published=0.0,
        tolerance=absolute(0.0, 1e-15, "exact"),
    )
    yield measurement(6, "distance", "largest |hard sigmoid - sigmoid|", exactly(gap))
    for name, expected in (("sigmoid", 6.62e-26), ("hard_sigmoid", 1.09e-28)):
        found = theory.predict(name, depth=20, sigma_w=1.0)
        yield measurement(
            6,
            f"20 layers of {name}",
            "factor of E||delta||^2 over 20 layers at sigma_w = 1: hard sigmoid vanishes faster",
            exactly(float(found.chi.prod())),
            published=expected,
            tolerance=absolute(expected, expected * 0.005, "printed to three digits"),
            source="mean field",
            provenance="D",
        )
    settings = {"width": 32, "lr": 0.5, "steps": 300 if quick else 800, "seeds": 3, "record": "off"}
    result = trained(activation=["sigmoid", "hard_sigmoid"], depth=[1, 2], **settings)
    differences = {}
    for depth in (1, 2):
        hard, soft = (
            np.array(last(result, "val_accuracy", activation=a, depth=depth))
            for a in ("hard_sigmoid", "sigmoid")
        )
        differences[depth] = mean_of(hard - soft)
        yield measurement(
            6,
            f"trained, {depth} hidden",
            "accuracy of hard sigmoid minus sigmoid's, same seeds (digits)",
            differences[depth],
        )
    yield decide(
        6,
        "hard sigmoid has slope 0.2 on (-2.5, 2.5) and is flat outside; trained, it is close to sigmoid",
        [
            ("its slope is 0.2 inside and 0 outside", bool(np.allclose(slopes, 0.2) and (flat == 0).all())),
            (f"the functions differ by at most {gap:.3f} (under 0.1)", gap < 0.1),
            *(
                (
                    f"accuracies differ by {d.value:+.3f} at {n} hidden layers (under 0.05)",
                    abs(d.value) < 0.05,
                )
                for n, d in differences.items()
            ),
        ],
    )


def families(quick: bool) -> Iterator[Finding]:
    """Bounded: |phi| grows by less than 1 between 50 and 5000. Near 0, near 1: within 0.1."""
    kept: dict[str, list[str]] = {family: [] for family in FAMILIES}
    broken: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for name in activations.names():
        found = activations.get(name)
        if not found.elementwise or found.family not in FAMILIES:
            continue
        near, slopes = faces(name, FAR)
        growth = float(np.abs(faces(name, FAR * 100)[0] - near).max())
        if found.family == "logistic":
            fits = growth < 1 and float(np.abs(slopes).max()) < 0.1
            shown = growth
        else:
            fits = abs(slopes[0]) < 0.1 and abs(slopes[1] - 1) < 0.1
            shown = float(max(abs(slopes[0]), abs(slopes[1] - 1)))
        (kept if fits else broken)[found.family].append(name)
        what = (
            "growth of |phi| from 50 to 5000"
            if found.family == "logistic"
            else "distance of the slopes at -50, 50 from 0, 1"
        )
        yield measurement(13, name, what, exactly(shown))
    yield decide(
        13,
        "two families: logistic shapes are bounded, rectifiers have slope near 0 below and near 1 above",
        [
            *((f"{len(names)} of the {family} family fit", len(names) > 0) for family, names in kept.items()),
            *(
                (f"no {family} breaks the rule" + (f" ({', '.join(names)} do)" if names else ""), not names)
                for family, names in broken.items()
            ),
        ],
    )
