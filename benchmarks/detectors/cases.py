"""The labelled nets: what each was made with, chosen before any ruleset saw it; `harder` has the second round."""

from __future__ import annotations

from hashlib import sha256
from itertools import product
from math import log10, sqrt
from typing import Any

from benchmarks.detectors import harder
from benchmarks.detectors.case import LATE, MILD, Case, Change, Maker, gaussian


def all_cases() -> list[Case]:
    """Every case, in an order that mixes the families."""
    make = Maker()
    for build in (_vanishing, _exploding, _dead, _saturated, _diverged, _underflow, _healthy, _unlearnable):
        build(make)
    make.round = 2
    for build in harder.BUILDERS:
        build(make)
    names = [case.name for case in make.cases]
    assert len(set(names)) == len(names), "every case has its own name"
    return sorted(make.cases, key=lambda case: sha256(case.name.encode()).hexdigest())


def _vanishing(make: Maker) -> None:
    scale = {"glorot": 1.0, "torch": 1 / sqrt(3), "he": sqrt(2)}
    for depth, (init, sigma_w) in product((8, 10, 15, 20, 40), scale.items()):
        # A sigmoid's slope is at most 1/4, so delta_rms changes by sigma_w / 4 a layer.
        decades = -depth * log10(sigma_w / 4)
        allowed = ("underflow",) if decades > 35 else ()
        make.add("sigmoid", "vanishing", "sigmoid", depth, init=init, mild=decades < MILD, allowed=allowed)
    for activation, depth in product(("relu", "leaky_relu", "elu", "gelu", "silu"), (20, 40)):
        # Uniform in +-1/sqrt(fan_in) has sigma_w^2 = 1/3: below 0.58 a layer, 0.41 for ReLU.
        make.add("torch init", "vanishing", activation, depth, init="torch")
    for activation, sigma_w, depth in product(("tanh", "softsign", "linear", "selu"), (0.4, 0.6), (25,)):
        make.add("small weights", "vanishing", activation, depth, init=gaussian(sigma_w))
    for activation, factor, depth in product(("relu", "tanh", "gelu"), (1e-4, 1e-6), (10, 20)):
        change = Change("weights", factor, "middle")
        make.add("one small layer", "vanishing", activation, depth, change)
    for activation, depth in product(("tanh", "relu", "elu"), (10, 20)):
        make.add("small weights late", "vanishing", activation, depth, Change("weights", 0.3, step=LATE))
    for depth, factor in product((20, 30), (1e3, 1e-3)):
        change = Change("loss", factor)
        make.add("sigmoid, scaled loss", "vanishing", "sigmoid", depth, change, lr=0.03 / factor)


def _exploding(make: Maker) -> None:
    for activation, sigma_w, depth in product(("tanh", "erf"), (3.0, 4.0), (30, 50)):
        allowed = ("saturated", "vanishing", "underflow", "diverged")
        make.add("chaotic", "exploding", activation, depth, init=gaussian(sigma_w), allowed=allowed)
    for activation, (sigma_w, depth), lr in product(
        ("relu", "leaky_relu", "elu", "selu", "linear", "gelu"), ((2.5, 20), (2.3, 30)), (0.03,)
    ):
        follows = ("diverged", "dead") if activation == "relu" else ("diverged",)
        make.add(
            "large weights", "exploding", activation, depth, init=gaussian(sigma_w), lr=lr, allowed=follows
        )
    for depth, width in product((60, 80), (32, 48)):
        # Batch norm after a linear map multiplies the gradient by about 1.21 a layer (Yang et al. 2019).
        make.add("batch norm", "exploding", "relu", depth, norm="batch", width=width, allowed=("diverged",))
    for activation, depth, width in product(("relu", "leaky_relu"), (40, 70), (32,)):
        # x + F(x) without a norm doubles the signal's variance, and the gradient's, at every layer.
        make.add(
            "plain skips", "exploding", activation, depth, residual="post", width=width, allowed=("diverged",)
        )
    for activation, factor, depth in product(("relu", "leaky_relu", "linear"), (1e4, 1e6), (10, 20)):
        follows = ("diverged", "dead") if activation == "relu" else ("diverged",)
        change = Change("weights", factor, "middle")
        make.add("one large layer", "exploding", activation, depth, change, allowed=follows)
    for activation, depth in product(("tanh", "erf"), (20, 40)):
        allowed = ("saturated", "vanishing", "underflow", "diverged")
        make.add(
            "large weights late",
            "exploding",
            activation,
            depth,
            Change("weights", 4, step=LATE),
            allowed=allowed,
        )


def _dead(make: Maker) -> None:
    follows = ("vanishing",)
    for activation, depth, where in product(("relu", "relu6"), (5, 10, 20), ("first", "middle", "top")):
        change = Change("kill", 1.0, where)
        make.add("one dead layer", "dead", activation, depth, change, certain=True, allowed=follows)
    for depth, width in product((5, 10, 20), (64, 128)):
        change = Change("kill", 0.97)
        make.add("nearly dead", "dead", "relu", depth, change, width=width, allowed=follows)
    for share, depth, where in product((1.0, 0.97), (5, 10, 20), ("middle", "all")):
        change = Change("kill", share, where, LATE)
        certain = share == 1
        make.add("dead late", "dead", "relu", depth, change, width=64, certain=certain, allowed=follows)
    for width, depth in product((3, 4), (15, 20, 30)):
        # Narrow and deep: born dead with a probability near 1 (Lu et al. 2019).
        make.add("narrow", "dead", "relu", depth, width=width, allowed=follows)
    for depth, bias in product((5, 10), (-6, -10)):
        make.add(
            "negative bias", "dead", "relu", depth, init=f"he:bias={bias}", certain=True, allowed=follows
        )


def _saturated(make: Maker) -> None:
    follows = ("vanishing", "underflow", "exploding", "diverged")
    scales = {
        "tanh": (15, 30, 100),
        "sigmoid": (40, 80),
        "erf": (15, 30),
        "softsign": (30,),
        "hard_tanh": (20,),
    }
    for activation, sigmas in scales.items():
        for sigma_w, depth in product(sigmas, (3, 5, 10)):
            allowed = (*follows, "dead") if activation == "hard_tanh" else follows
            make.add("huge weights", "saturated", activation, depth, init=gaussian(sigma_w), allowed=allowed)
    for (activation, bias), depth in product((("sigmoid", 12), ("tanh", 5)), (3, 5, 10)):
        make.add("large bias", "saturated", activation, depth, init=f"glorot:bias={bias}", allowed=follows)
    for activation, depth in product(("tanh", "erf"), (5, 10, 20)):
        change = Change("weights", 1e3, "middle")
        make.add("one huge layer", "saturated", activation, depth, change, allowed=follows)
    for activation, depth in product(("tanh", "sigmoid", "erf"), (3, 5, 10)):
        change = Change("weights", 50, step=LATE)
        make.add("huge weights late", "saturated", activation, depth, change, lr=0.1, allowed=follows)
    for activation, depth in product(("tanh", "sigmoid"), (2, 3)):
        make.add("raw inputs", "saturated", activation, depth, Change("inputs", 1e3), allowed=follows)


def _diverged(make: Maker) -> None:
    def followers(activation: str) -> tuple[str, ...]:
        return ("exploding", "vanishing", *(("dead",) if activation == "relu" else ()))

    rates = (5.0, 30.0)
    activations = ("relu", "gelu", "elu", "linear", "leaky_relu", "selu", "silu")
    for activation, lr, depth in product(activations, rates, (5, 10)):
        make.add("rate", "diverged", activation, depth, lr=lr, allowed=followers(activation))
    for activation, depth in product(("relu", "linear", "elu"), (5, 10)):
        make.add(
            "squared error", "diverged", activation, depth, loss="mse", lr=10.0, allowed=followers(activation)
        )
    for activation, depth in product(("linear", "leaky_relu", "elu"), (5, 10)):
        change = Change("loss", 1e4)
        make.add("scaled loss", "diverged", activation, depth, change, allowed=followers(activation))
    for activation, depth in product(("relu", "linear", "elu", "leaky_relu", "gelu", "selu"), (5, 10)):
        change = Change("rate", 1000, step=LATE)
        make.add("rate late", "diverged", activation, depth, change, allowed=followers(activation))


def _underflow(make: Maker) -> None:
    # Below 1.4e-45 float32 ends; these are made to pass 1e-53.
    for (init, depth), width in product((("glorot", 95), ("torch", 70), (gaussian(0.1), 38)), (16, 32)):
        make.add("sigmoid, deep", "underflow", "sigmoid", depth, init=init, width=width, certain=True)
    # Biases keep the signal alive where small weights shrink the gradient to 0.02 and less a layer.
    activations = ("tanh", "relu", "gelu", "elu", "silu", "erf", "softsign", "leaky_relu")
    for activation, depth, width in product(activations, (32, 40), (32, 48)):
        allowed = ("dead",) if activation == "relu" else ()  # a unit is its bias: half are never active
        init = gaussian(0.02, 0.5)
        make.add(
            "small weights, biases",
            "underflow",
            activation,
            depth,
            init=init,
            width=width,
            certain=True,
            allowed=allowed,
        )
    for activation, depth in product(("sigmoid", "tanh", "gelu"), (35, 45)):
        init = gaussian(0.1) if activation == "sigmoid" else gaussian(0.02, 0.5)
        make.add("float64", "vanishing", activation, depth, init=init, width=32, dtype="float64")


def _healthy(make: Maker) -> None:
    def add(family: str, activation: str, depth: int, *changes: Change, **more: Any) -> None:
        make.add(family, "", activation, depth, *changes, **{"steps": 300, "lr": 0.05, **more})

    for activation, depth in product(("relu", "leaky_relu", "gelu", "elu", "silu", "mish", "selu"), (5, 10)):
        add("plain", activation, depth)
    for activation, depth in product(("tanh", "softsign", "hard_tanh", "linear", "prelu"), (5, 10, 20)):
        add("plain", activation, depth)
    for activation, width in (("relu", 512), ("tanh", 512), ("selu", 256), ("gelu", 256)):
        add("wide", activation, 5, width=width)
    for activation, depth in product(("relu", "leaky_relu", "elu", "selu"), (20, 30)):
        add("deeper", activation, depth, width=64)
    for init, depth in product(("orthogonal", "critical"), (30, 50, 100)):
        add("tanh, critical", "tanh", depth, init=init, width=64)
    for activation, norm, depth in product(("relu", "tanh", "gelu"), ("batch", "layer", "rms"), (5, 15)):
        add("norm", activation, depth, norm=norm)
    for norm, depth in product(("batch", "layer"), (5, 10)):
        add("norm", "sigmoid", depth, norm=norm)
    for residual, depth in product(("pre", "scaled", "rezero", "skipinit", "fixup"), (21, 41)):
        add("skips", "relu", depth, residual=residual, width=64)
    for depth, lr in product((1, 2, 3), (0.3, 1.0)):
        add("sigmoid, shallow", "sigmoid", depth, lr=lr, init="glorot")
    for depth in (2, 3, 4):
        add("sigmoid, shallow", "sigmoid", depth, lr=0.003, optimizer="adam")
    for activation, depth in product(("relu", "tanh", "gelu"), (5, 10)):
        add("adam", activation, depth, lr=0.002, optimizer="adam")
    for activation, factor in product(("relu", "tanh", "gelu"), (1e4, 1e-4)):
        add("scaled loss", activation, 8, Change("loss", factor), lr=0.05 / factor)
    for depth, share in product((3, 5, 8), (0.3, 0.5)):
        add("partly dead", "relu", depth, Change("kill", share), width=64)
    for depth in (3, 5, 8):
        add("partly dead late", "relu", depth, Change("kill", 0.3, step=LATE), width=64)
    for activation, init, depth in product(("relu", "tanh"), ("he_uniform", "lsuv"), (5, 10)):
        add("other inits", activation, depth, init=init)
    for activation, depth in product(("relu", "gelu", "elu"), (3, 4)):
        add("torch init, shallow", activation, depth, init="torch", lr=0.3)


def _unlearnable(make: Maker) -> None:
    for activation, depth in product(("relu", "tanh", "gelu", "elu"), (5, 10)):
        make.add("tiny rate", "", activation, depth, lr=1e-6, sound=True)
    for activation, depth in product(("relu", "tanh", "selu"), (5, 10)):
        make.add("shuffled labels", "", activation, depth, Change("labels"), sound=True)
