"""What verdicts and remedies ask about the parts of a net, each named as a cell's columns write it."""

from __future__ import annotations

from gradlab import activations
from gradlab.parts import residuals

NOT_CENTRED = ("sigmoid", "hard_sigmoid", "hard_sigmoid_6", "softmax", "softplus")

GROWING_SKIPS = ("post", "pre")

USUAL_RATE = {
    "sgd": 0.03,
    "momentum": 0.01,
    "nesterov": 0.01,
    "adam": 0.001,
    "adamw": 0.001,
    "rmsprop": 0.001,
}


def usual_rate(optimizer: str) -> float:
    """The rate at which depth-5 to depth-20 nets of every kind here train on digits; Adam's is its authors'."""
    return USUAL_RATE[optimizer]


def is_s_shaped(activation: str) -> bool:
    """Whether an activation is of the logistic family, flat on both sides; False for a user's own."""
    name = _name(activation)
    return name in activations.names() and activations.get(name).family == "logistic"


def is_centred(activation: str) -> bool:
    """Whether its outputs scatter around 0."""
    return _name(activation) not in NOT_CENTRED


def closed_at_birth(residual: str) -> bool:
    """Whether a scheme's branches give 0 until training opens them, so that no delta comes into them at birth."""
    return _name(residual) in residuals.CLOSED


def grows(residual: str) -> bool:
    """Whether a scheme's sum x + F(x) doubles the signal's variance, and the gradient's, at every block."""
    return _name(residual) in GROWING_SKIPS


def has_skips(residual: str) -> bool:
    return _name(residual) != "none"


def slope_at_0_is_1(activation: str) -> bool:
    """Whether an S-shape has phi'(0) = 1; erf alone has another slope there."""
    return _name(activation) != "erf"


def _name(item: str) -> str:
    return item.partition(":")[0]
