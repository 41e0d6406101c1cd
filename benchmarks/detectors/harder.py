"""The second round of labelled nets: what the first did not ask of a detector.

Losses that grow without end and stay finite, layers that are dead though no output is 0 or learn all the same, sparse
and rarely active nets in which nothing is wrong, other data, float64, width 512.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from benchmarks.detectors.case import LATE, Change, Maker, gaussian

FLAT = ("hard_sigmoid", "hard_sigmoid_6", "hard_tanh", "relu6")
"""Two flat parts each: a unit in the upper one is dead and its output is not 0."""
PLANE = ("moons", "circles")
"""Two inputs, two classes: chance is one half."""


def _diverged_finite(make: Maker) -> None:
    """Rates and decays beyond what is stable, in nets whose loss has no way to leave the number format quickly."""
    follows = ("exploding", "vanishing", "saturated", "dead", "underflow")

    def add(family: str, activation: str, depth: int, *changes: Change, **flags: Any) -> None:
        make.add(family, "diverged", activation, depth, *changes, allowed=follows, **flags)

    for activation, lr, depth in product(
        ("tanh", "sigmoid", "erf", "softsign", "hard_tanh"), (100.0, 300.0), (2, 4)
    ):
        add("bounded, rate", activation, depth, lr=lr)  # bounded h: the logits grow by rate x width a step
    for activation, depth in product(("relu", "leaky_relu", "gelu", "elu", "selu", "silu"), (3, 6)):
        add(
            "adam, rate", activation, depth, optimizer="adam", lr=1.0
        )  # steps of the same length whatever delta
    for activation, depth in product(("relu", "leaky_relu", "gelu", "elu"), (3, 6)):
        add("clipped, rate", activation, depth, clip=1.0, lr=30.0)
    for activation, norm, depth in product(("relu", "tanh", "elu"), ("batch", "layer"), (3, 6)):
        add("normed, rate", activation, depth, norm=norm, lr=30.0)  # what a norm follows has no scale
    for activation, depth in product(("sigmoid", "hard_sigmoid", "softplus"), (2, 3)):
        add("squared error, above the edge", activation, depth, loss="mse", lr=1.0)
    for activation, decay, depth in product(("tanh", "sigmoid", "softsign"), (69.0, 71.0), (2, 4)):
        # Weights are multiplied by 1 - 0.03 decay, about -1.1, at every step.
        add("weight decay", activation, depth, weight_decay=decay)
    for activation, optimizer, depth in product(("relu", "tanh", "gelu"), ("momentum", "nesterov"), (3, 6)):
        add("momentum", activation, depth, optimizer=optimizer, momentum=0.99, lr=3.0)
    for activation, depth in product(("tanh", "erf", "softsign"), (3, 6)):
        add("bounded, rate late", activation, depth, Change("rate", 3000, step=LATE))
    for activation, depth in product(("relu", "elu"), (3, 6)):
        add("adam, rate late", activation, depth, Change("rate", 1000, step=LATE), optimizer="adam", lr=0.001)
    for activation, data in product(("tanh", "relu", "softsign"), PLANE):
        add("plane, rate", activation, 3, lr=100.0, data=data)
    for activation, dtype in product(("leaky_relu", "elu", "linear"), ("float64",)):
        # The same growth as in float32, whose range 20 such steps use up; float64 holds out longer.
        add("float64, rate", activation, 2, lr=1.0, loss="mse", dtype=dtype)


def _recovers(make: Maker) -> None:
    """A loss that jumps for two steps and comes back: not a divergence."""
    for activation, depth, factor in product(
        ("relu", "tanh", "gelu", "leaky_relu", "elu"), (3, 5), (30, 100)
    ):
        changes = (Change("rate", factor, step=48), Change("rate", 1 / factor, step=50))
        make.add("spike", "", activation, depth, *changes, optimizer="adam", lr=0.002)


def _dead_otherwise(make: Maker) -> None:
    follows = ("vanishing", "saturated", "underflow")

    def add(family: str, activation: str, depth: int, *changes: Change, **more: Any) -> None:
        make.add(family, "dead", activation, depth, *changes, **{"allowed": follows, **more})

    for activation, kind, depth in product(FLAT, ("kill", "lift"), (4, 8)):
        add("flat layer", activation, depth, Change(kind, 1.0, "middle"), certain=True)
    for activation, kind in product(FLAT, ("kill", "lift")):
        add("flat layer late", activation, 3, Change(kind, 1.0, "middle", LATE), certain=True, lr=0.1)
    for residual, depth in product(("pre:block=2", "scaled:block=2", "fixup", "rezero"), (7, 11)):
        # Inside a branch: the identity path passes by it, and the net learns with one layer less.
        add(
            "dead branch",
            "relu",
            depth,
            Change("kill", 1.0, "middle"),
            certain=True,
            residual=residual,
            lr=0.05,
        )
    for share, depth in product((0.8, 0.9), (5, 10, 20)):
        add("mostly dead", "relu", depth, Change("kill", share))
    for share, width in product((0.9, 0.97), (16, 64)):
        add("one starved layer", "relu", 10, Change("kill", share, "middle"), width=width)
    for activation, data, where in product(("relu", "relu6"), PLANE, ("first", "top")):
        add("plane, dead layer", activation, 6, Change("kill", 1.0, where), certain=True, data=data)
    for data, depth in product(PLANE, (15, 30)):
        add("plane, narrow", "relu", depth, width=2, data=data)
    for dtype, factor in product(("float32", "float64"), (1e4, 1e-4)):
        changes = (Change("kill", 1.0, "middle"), Change("loss", factor))
        add("scaled loss, dead layer", "relu", 6, *changes, certain=True, lr=0.03 / factor, dtype=dtype)
    for where, depth in product(("first", "middle"), (4, 8)):
        add("wide, dead layer", "relu", depth, Change("kill", 1.0, where), certain=True, width=512)


def _not_dead(make: Maker) -> None:
    def add(family: str, activation: str, depth: int, *changes: Change, **more: Any) -> None:
        make.add(family, "", activation, depth, *changes, **{"steps": 300, "lr": 0.1, **more})

    for bias, depth, width in product((-2.5, -3.5), (2, 4), (64, 256)):
        # Units active on a few samples in a hundred: in a batch of 16 most are not active once.
        add("rarely active", "relu", depth, Change("bias", bias, "first"), width=width, batch_size=16)
    for bias, depth in product((-0.5, -1.0), (2, 4)):
        add("sparse", "relu", depth, init=f"he:bias={bias}", width=256, lr=0.2)
    for theta, depth in product((0.5, 1.0), (2, 4)):
        add("sparse", f"thresholded_relu:theta={theta}", depth, width=256)
    for share, depth in product((0.6, 0.7), (3, 5)):
        add("partly dead", "relu", depth, Change("kill", share), width=128)
    for activation, depth in product(
        ("prelu:init=0", "prelu:init=0.001", "leaky_relu:negative_slope=0.001"), (5, 10)
    ):
        add("hardly leaky", activation, depth)
    for activation, depth in product(("leaky_relu:negative_slope=0.2", "prelu:init=0.25"), (5, 10)):
        add("lower side", activation, depth, Change("bias", -10, "middle"), lr=0.03)
    for activation, kind in product(FLAT, ("kill", "lift")):
        add("half in the flat part", activation, 2, Change(kind, 0.5, "middle"), lr=0.2)


def _saturated_otherwise(make: Maker) -> None:
    follows = ("vanishing", "underflow")
    smooth = ("elu", "celu", "gelu", "silu", "mish", "softplus")
    for activation, depth in product(smooth, (4, 8)):
        # Far below 0 a smooth rectifier has next to no slope, but no flat part: nothing is dead.
        make.add("lower side", "saturated", activation, depth, Change("bias", -12, "middle"), allowed=follows)
    for activation, depth in product(("tanh", "softsign"), (3, 6)):
        make.add("lower side", "saturated", activation, depth, Change("bias", -60, "middle"), allowed=follows)
    for activation, data in product(("tanh", "sigmoid", "erf"), PLANE):
        allowed = (*follows, "exploding", "diverged")
        make.add(
            "plane, huge weights", "saturated", activation, 5, init=gaussian(100), data=data, allowed=allowed
        )
    for dtype, depth in product(("float64",), (3, 6)):
        allowed = (*follows, "exploding", "diverged")
        make.add(
            "float64, huge weights",
            "saturated",
            "tanh",
            depth,
            init=gaussian(50),
            dtype=dtype,
            allowed=allowed,
        )


def _vanishing_otherwise(make: Maker) -> None:
    def add(family: str, activation: str, depth: int, *changes: Change, **flags: Any) -> None:
        make.add(family, "vanishing", activation, depth, *changes, **flags)

    for data, depth in product(PLANE, (12, 20)):
        add("plane, sigmoid", "sigmoid", depth, data=data)
        add("plane, torch init", "relu", 2 * depth, init="torch", data=data)
    for activation, depth in product(("hard_sigmoid", "hard_sigmoid_6"), (8, 15)):
        add("hard sigmoid", activation, depth)
    for depth, width in product((5, 10), (32, 64)):
        # A softmax of n units has slopes of 1 / n at most about its even outputs.
        add("softmax", "softmax", depth, width=width, allowed=("underflow",))
    for activation, depth in product(("sigmoid", "hard_sigmoid"), (10,)):
        add("wide", activation, depth, width=512)
    add("wide", "relu", 16, init="torch", width=512)
    for activation, factor in product(("relu", "tanh"), (1e4, 1e-4)):
        changes = (Change("loss", factor),)
        init = "torch" if activation == "relu" else gaussian(0.5)
        add("scaled loss", activation, 30, *changes, init=init, lr=0.03 / factor)
    for activation, optimizer in product(("sigmoid", "relu"), ("momentum", "adam")):
        init = "torch" if activation == "relu" else "glorot"
        add(
            "other optimisers",
            activation,
            40,
            init=init,
            optimizer=optimizer,
            lr=0.001,
            allowed=("underflow",),
        )


def _exploding_otherwise(make: Maker) -> None:
    for activation, data in product(("leaky_relu", "elu", "linear"), PLANE):
        make.add(
            "plane, large weights",
            "exploding",
            activation,
            20,
            init=gaussian(3),
            data=data,
            allowed=("diverged",),
        )
    chaotic = ("saturated", "vanishing", "underflow", "diverged")
    for activation, data in product(("tanh", "erf"), PLANE):
        make.add("plane, chaotic", "exploding", activation, 40, init=gaussian(4), data=data, allowed=chaotic)
    for activation, factor in product(("leaky_relu", "linear"), (1e4, 1e-4)):
        flags = {"init": gaussian(2.5), "lr": 0.03 / factor}
        make.add(
            "scaled loss", "exploding", activation, 20, Change("loss", factor), allowed=("diverged",), **flags
        )
    for activation, depth in product(("leaky_relu", "elu"), (20, 30)):
        flags = {"init": gaussian(2.5), "dtype": "float64"}
        make.add("float64, large weights", "exploding", activation, depth, allowed=("diverged",), **flags)
    make.add("wide", "exploding", "leaky_relu", 16, init=gaussian(3), width=512, allowed=("diverged",))
    make.add("wide", "exploding", "tanh", 30, init=gaussian(4), width=256, allowed=chaotic)


def _healthy_otherwise(make: Maker) -> None:
    def add(family: str, activation: str, depth: int, *changes: Change, **more: Any) -> None:
        make.add(family, "", activation, depth, *changes, **{"steps": 300, "lr": 0.05, **more})

    for activation, data, depth in product(("relu", "tanh", "gelu", "elu"), PLANE, (3, 6)):
        add("plane", activation, depth, data=data, lr=0.1)
    for activation, depth in product(("relu", "tanh", "sigmoid"), (2, 5)):
        add("float64", activation, depth, dtype="float64", lr=0.3 if activation == "sigmoid" else 0.05)
    for activation, factor in product(("relu", "tanh"), (1e6, 1e-6)):
        add("float64, scaled loss", activation, 8, Change("loss", factor), lr=0.05 / factor, dtype="float64")
    for depth, width in product((25, 30, 35), (64, 128)):
        # The gradient grows 1.2 times a layer under batch norm, hundreds of times in all, and the net learns.
        add("batch norm, deep", "relu", depth, norm="batch", width=width, batch_size=64)
    for activation, depth in product(("relu", "tanh"), (8, 16)):
        add("wide", activation, depth, width=512)
    for activation, optimizer in product(("relu", "tanh", "selu"), ("momentum", "nesterov", "rmsprop")):
        add(
            "other optimisers",
            activation,
            6,
            optimizer=optimizer,
            lr=0.001 if optimizer == "rmsprop" else 0.01,
        )
    for activation, depth in product(("relu", "tanh"), (3, 5)):
        add("squared error", activation, depth, loss="mse", lr=0.05)
    for activation, depth in product(("hard_sigmoid", "softplus"), (1, 2)):
        add("shallow", activation, depth, lr=0.3)


def _unlearnable_otherwise(make: Maker) -> None:
    for activation, depth in product(("relu", "tanh", "gelu"), (4, 8)):
        make.add("labels of chance", "", activation, depth, data="gaussian", sound=True)
    for data, depth in product(PLANE, (3, 6)):
        make.add("plane, tiny rate", "", "tanh", depth, data=data, lr=1e-6, sound=True)


BUILDERS = (
    _diverged_finite,
    _recovers,
    _dead_otherwise,
    _not_dead,
    _saturated_otherwise,
    _vanishing_otherwise,
    _exploding_otherwise,
    _healthy_otherwise,
    _unlearnable_otherwise,
)
