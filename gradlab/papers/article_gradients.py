"""The article's claims about gradients: deep sigmoid (3), small gradients (4), ReLU (9), too many zeros (10)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradlab import theory
from gradlab.papers.claims import decide, measurement
from gradlab.papers.random_nets import Array
from gradlab.papers.rows import Finding, Panel, Series, absolute, exactly, mean_of, relative
from gradlab.papers.training import trained

LEARNS = 0.5  # accuracy on the ten digits; guessing reaches 0.1


def ranks(values: Array) -> Array:
    """Ranks with ties at their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    result: Array = (ends - (counts - 1) / 2)[place]
    return result


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's."""
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def vanishing_sigmoid(quick: bool) -> Iterator[Finding]:
    depths = [2, 5, 10, 20, 35, 50]
    result = trained(activation="sigmoid", depth=depths, width=64, steps=0, seeds=3, batch_size=32)
    attenuation = result.summary.set_index("depth")["attenuation_mean"].reindex(depths)
    for depth in depths:
        seeds = result.layers[result.layers["depth"] == depth]
        first, top = (
            seeds[seeds["layer"] == n].sort_values("seed")["delta_rms"].to_numpy() for n in (1, depth)
        )
        yield measurement(
            3,
            f"attenuation, {depth} layers",
            "log10 of layer 1's delta over the top's at birth",
            mean_of(np.log10(first / top)),
        )
    per_layer = 10 ** ((attenuation[50] - attenuation[20]) / 30)
    chi = theory.predict("sigmoid", depth=40, sigma_w=1.0).chi[10]
    yield measurement(
        3,
        "factor a layer",
        "delta_rms from one layer to the one below, between 20 and 50 layers, against the mean field",
        exactly(float(per_layer)),
        published=float(np.sqrt(chi)),
        tolerance=relative(float(np.sqrt(chi)), 0.05, "width 64: 5 / (2 * 64) a layer, and 3 nets"),
        source="mean field: chi_1 = 0.05572",
        provenance="D",
    )
    critical = theory.critical("sigmoid").sigma_w
    assert critical is not None
    yield measurement(
        3,
        "not always",
        "the sigma_w at which a deep sigmoid net neither loses nor gains gradient: 1/4 a layer is not the whole story",
        exactly(critical),
        published=10.14926371,
        tolerance=absolute(10.14926371, 2e-8, "computed independently to 8 decimals"),
        source="mean field",
        provenance="D",
    )
    by_bias = _saturated([f"glorot:bias={value}" for value in (0, 2, 4)])
    by_weight = _saturated([f"gaussian:sigma_w={value}" for value in (1, 4, 10)])
    for name, cells in (("biases", by_bias), ("weights", by_weight)):
        for init, saturated, decay in cells:
            yield measurement(
                3,
                f"saturated by {name}, {init}",
                f"factor of delta_rms a layer; {saturated:.0%} saturated",
                exactly(decay),
            )
    yield decide(
        3,
        "a deep sigmoid net has vanishing gradients, the more so the deeper and the more saturated it is",
        [
            (
                f"each added depth attenuates more, down to 1e{attenuation[50]:.0f} at 50",
                bool((attenuation.diff()[1:] < 0).all()),
            ),
            ("saturating it by large biases attenuates more", by_bias[0][2] > by_bias[1][2] > by_bias[2][2]),
            (
                "saturating it by large weights attenuates more",
                by_weight[0][2] > by_weight[1][2] > by_weight[2][2],
            ),
        ],
    )
    yield Panel(
        "Deep sigmoid at birth",
        "depth",
        "log10 attenuation",
        [Series("measured", [float(d) for d in depths], list(attenuation))],
    )


def _saturated(inits: list[str]) -> list[tuple[str, float, float]]:
    """(init, saturated fraction, decay per layer) of 10 sigmoid layers at birth."""
    summary = trained(
        activation="sigmoid", depth=10, width=64, init=inits, steps=0, seeds=3, batch_size=32
    ).summary
    rows = [summary[summary["init"] == summary["init"].unique()[i]].iloc[0] for i in range(len(inits))]
    return [
        (str(r["init"]), float(r["saturated_fraction_max"]), float(r["decay_per_layer_mean"])) for r in rows
    ]


def small_gradients(quick: bool) -> Iterator[Finding]:
    result = trained(
        activation=["sigmoid", "tanh", "relu"],
        depth=[2, 8] if quick else [2, 8, 16],
        init=["auto", "lecun", "torch"],
        width=32,
        steps=150 if quick else 300,
        lr=0.1,
        seeds=2,
        record="every:1000",
    )
    summary = result.summary
    attenuation = summary["attenuation_mean"].to_numpy(dtype=np.float64)
    accuracy = summary["val_accuracy_mean"].to_numpy(dtype=np.float64)
    correlation = rank_correlation(attenuation, accuracy)
    small = attenuation < -4
    yield measurement(
        4, "rank correlation", "attenuation at birth against accuracy reached (digits)", exactly(correlation)
    )
    yield measurement(
        4,
        "small gradients",
        f"best accuracy of the {small.sum()} cells whose layer 1 gets under 1e-4 of the top's gradient",
        exactly(float(accuracy[small].max()) if small.any() else np.nan),
    )
    yield measurement(
        4,
        "sound gradients",
        "median accuracy of the cells whose layer 1 gets a tenth of the top's gradient or more",
        exactly(float(np.median(accuracy[attenuation > -1]))),
    )
    yield decide(
        4,
        "small gradients mean learning very slowly or not at all",
        [
            (
                f"attenuation and accuracy go together (rank correlation {correlation:.2f}, over 0.5)",
                correlation > 0.5,
            ),
            (
                f"no cell below 1e-4 passes accuracy {LEARNS}",
                bool(small.any() and accuracy[small].max() < LEARNS),
            ),
            (
                f"the median cell above 1e-1 passes {LEARNS}",
                float(np.median(accuracy[attenuation > -1])) > LEARNS,
            ),
        ],
    )
    yield Panel(
        "Gradient at birth and what is learned",
        "log10 attenuation",
        "accuracy",
        [
            Series(name, list(attenuation[mine]), list(accuracy[mine]), "points")
            for name in ("sigmoid", "tanh", "relu")
            for mine in [(summary["activation"] == name).to_numpy()]
        ],
    )


def relu(quick: bool) -> Iterator[Finding]:
    expected = {"he": 1.0, "lecun": 0.5, "torch": 1 / 6}
    result = trained(
        activation="relu", depth=20, width=64 if quick else 128, init=list(expected), steps=0, seeds=4
    )
    decay = {}
    for init, chi in expected.items():
        cell = result.layers[(result.layers["init"] == init) & (result.layers["layer"] <= 20)]
        delta = cell.pivot(index="seed", columns="layer", values="delta_rms").to_numpy()
        decay[init] = mean_of((delta[:, 0] / delta[:, -1]) ** (2 / 19))
        # torch's default draws biases too: at width n they add 1 / (3 n) to q, which leaves ReLU's chi alone
        yield measurement(
            9,
            f"factor a layer, {init}",
            "factor of delta^2 a layer of 20 ReLU layers at birth (digits)",
            decay[init],
            published=chi,
            tolerance=relative(
                chi, 0.15, "4 standard errors: sqrt(5 / 64 / 19 / 4) is 3.2 %, and 5 / (2 * 64) of E log"
            ),
            source="mean field: sigma_w^2 / 2",
            provenance="D",
        )
    yield decide(
        9,
        "ReLU is unbounded above and solves the vanishing gradient",
        [
            ("it is unbounded above", theory.length_map("relu", 1e8, sigma_w=1.0).item() > 1e7),
            *(
                (f"with {init} weights delta^2 keeps 0.8 or more a layer ({d.value:.3f})", d.value > 0.8)
                for init, d in decay.items()
            ),
        ],
    )


def zeros(quick: bool) -> Iterator[Finding]:
    biases = (0.0, -0.5, -1.0, -2.0)
    conditions = []
    for name, width in (("narrow", 16), ("wide", 128)):
        result = trained(
            activation="relu",
            depth=4,
            width=width,
            init=[f"he:bias={bias}" for bias in biases],
            steps=150 if quick else 400,
            seeds=2 if quick else 3,
            record="every:1000",
        )
        hidden = result.layers[(result.layers["layer"] <= 4) & (result.layers["step"] == 0)]
        share = hidden.groupby(["init", "layer"])["zero_fraction"].mean().groupby("init").max()
        dead = hidden.groupby(["init", "layer"])["dead_fraction"].mean().groupby("init").max()
        accuracy = result.summary.set_index("init")["val_accuracy_mean"].reindex(share.index)
        for init in share.sort_values().index:
            text = f"accuracy from {share[init]:.0%} zeros and {dead[init]:.0%} dead units in the worst layer (digits)"
            yield measurement(10, f"{name}, {init}", text, exactly(float(accuracy[init])))
        few, many = accuracy[share < 0.6], accuracy[share > 0.95]
        conditions.append(
            (
                f"{name} nets: over 95 % zeros cost half of the accuracy ({many.max():.2f} against {few.max():.2f})",
                bool(len(many) and many.max() < few.max() / 2),
            )
        )
    yield decide(10, "too many zeros in a layer keep information from passing", conditions)
