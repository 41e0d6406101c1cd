"""A remedy, and the changes that remedy more than one verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gradlab.analyse.known_parts import grows, has_skips, is_centred, slope_at_0_is_1, usual_rate
from gradlab.base.grammar import format_number
from gradlab.config.sections import Network, Training

DEEP = 30
"""Hidden layers beyond which plain ReLU nets train slowly whatever the initialiser (0.67 on digits at depth 50 after
1000 steps, against 0.98 with skips), so that skips come first and plain nets get a third of the usual rate."""

ROOM = frozenset({"training.lr"})
"""The rate that goes along with a change of the network."""

Changes = dict[str, str | float]


@dataclass(frozen=True)
class Remedy:
    """changes: dotted keys of the configuration and their new values; reason: one sentence; source: who showed it.

    `along` are the changes that only make room for the others: without one of those there is no remedy.
    """

    changes: Mapping[str, str | float]
    reason: str
    source: str
    along: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{', '.join(f'{key}={as_text(value)}' for key, value in self.changes.items())}: {self.reason}"


def skips(network: Network, training: Training) -> Iterator[Remedy]:
    """An identity path, where there is none yet or one whose sum grows from block to block."""
    if network.depth < 2 or (has_skips(network.residual) and not grows(network.residual)):
        return
    shallow = network.model_copy(
        update={"depth": 1}
    )  # with a path past the layers, depth asks for no smaller rate
    better: Changes = {} if is_centred(network.activation) else {"network.activation": "relu"}
    yield Remedy(
        {"network.residual": "scaled", "network.init": "auto", **better, **calm(shallow, training)},
        "an identity path carries delta past every layer, branches divided by sqrt(blocks) keep its size",
        "He et al. 2016; Hayou et al. 2021",
        ROOM,
    )


def edge_of_chaos(activation: str) -> Changes:
    """The initialiser with sigma_w phi'(0) = 1: LeCun's has sigma_w = 1."""
    return {"network.init": "lecun" if slope_at_0_is_1(activation) else "critical"}


def batch_norm() -> Remedy:
    return Remedy(
        {"network.norm": "batch"},
        "each unit's input is centred and scaled, so that it is neither always on nor always off",
        "Ioffe and Szegedy 2015; AutoTrainer (Zhang et al. 2021)",
    )


def clip() -> Remedy:
    return Remedy(
        {"training.clip": 1.0}, "no step can be longer than the rate", "Pascanu, Mikolov and Bengio 2013"
    )


def calm(network: Network, training: Training) -> Changes:
    """A rate at which a net with full-size gradients trains: one chosen for a vanished gradient is too large."""
    usual = usual_rate(training.optimizer)
    safe = usual if network.depth <= DEEP else usual / 3
    return {"training.lr": tidy(safe)} if training.lr > safe else {}


def tidy(rate: float) -> float:
    """A rate in three digits."""
    return float(f"{rate:.3g}")


def as_text(value: str | float) -> str:
    """A value as it is typed."""
    return value if isinstance(value, str) else format_number(value)
