"""What to change for each verdict: ordered lists of changes to the configuration, each with its reason and source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gradlab import activations
from gradlab.analyse.rule import is_s_shaped
from gradlab.base.errors import ConfigError
from gradlab.base.grammar import format_number
from gradlab.config.sections import Network, Training
from gradlab.parts import inits
from gradlab.parts.optimizers import usual_rate

NOT_CENTRED = ("sigmoid", "hard_sigmoid", "hard_sigmoid_6", "softmax", "softplus")

FANS = ((64, 64), (64, 10))
"""(fan_in, fan_out) at which two initialisers are compared: Glorot's and LeCun's differ only in the second."""

DEEP = 30
"""Hidden layers beyond which plain ReLU nets train slowly whatever the initialiser (0.67 on digits at depth 50 after
1000 steps, against 0.98 with skips), so that skips come first and plain nets get a third of the usual rate."""

NARROW = 32
"""Width below which a ReLU net is first made wider: at 32 units and depth 15 no layer is ever born dead."""

GROWING_SKIPS = ("post", "pre")
"""Residual schemes whose sum x + F(x) doubles the signal's variance, and the gradient's, at every block."""

ROOM = frozenset({"training.lr"})
"""The rate that goes along with a change of the network."""


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
        return f"{', '.join(f'{key}={_text(value)}' for key, value in self.changes.items())}: {self.reason}"


def remedies(verdicts: Sequence[str], network: Network, training: Training) -> list[Remedy]:
    """The remedies for what holds, the likeliest and smallest first; none that would change nothing, none twice.

    verdicts: first cause first, as a diagnosis gives them: the first one's remedies come first.
    """
    found: list[Remedy] = []
    current = {f"network.{key}": value for key, value in network.model_dump().items()}
    current |= {f"training.{key}": value for key, value in training.model_dump().items()}
    for verdict in verdicts:
        for remedy in FOR.get(verdict, _none)(network, training):
            changes = {key: value for key, value in remedy.changes.items() if current[key] != value}
            if _same_init(network, changes):
                del changes["network.init"]
            if set(changes) - remedy.along and all(changes != other.changes for other in found):
                found.append(replace(remedy, changes=changes))
    return found


def _same_init(network: Network, changes: Mapping[str, str | float]) -> bool:
    """Whether the new initialiser draws what the old one draws: `auto` is He's for ReLU."""
    if "network.init" not in changes or "network.activation" in changes:
        return False
    try:
        activation = activations.get(network.activation)
        old, new = inits.get(network.init, activation), inits.get(str(changes["network.init"]), activation)
    except ConfigError:  # known by its cell columns alone, which a user's own need not be importable from
        return False
    if (
        old.sigma_w is None
        or new.sigma_w is None
        or (old.distribution, old.bias) != (new.distribution, new.bias)
    ):
        return False
    return all(
        old.sigma_w(*fans) == new.sigma_w(*fans) and old.sigma_b(*fans) == new.sigma_b(*fans) for fans in FANS
    )


def advice_for(verdicts: Sequence[str], cell: Mapping[str, object]) -> str:
    """One short sentence for summary.csv: the first remedy for a cell known by its cell columns; "" when healthy."""
    if not verdicts or verdicts[0] == "healthy":
        return ""
    network, training = _sections(cell)
    found = remedies(verdicts, network, training)
    if not found:
        return ""
    flags = " ".join(
        f"--{key.partition('.')[2].replace('_', '-')} {_text(v)}" for key, v in found[0].changes.items()
    )
    return f"try {flags}: {found[0].reason}"


def _sections(cell: Mapping[str, object]) -> tuple[Network, Training]:
    """The sections as far as the cell columns tell them; what they do not tell keeps its default."""
    from pydantic import ValidationError

    def known(section: type[Network] | type[Training]) -> dict[str, object]:
        found = {}
        for key in section.model_fields:
            value = cell.get(key)
            value = value.item() if hasattr(value, "item") else value
            try:
                section.model_validate({key: value})
            except ValidationError:  # a user's own model: its columns are not ours
                continue
            found[key] = value
        return found

    return Network.model_validate(known(Network)), Training.model_validate(known(Training))


def _none(network: Network, training: Training) -> Iterator[Remedy]:
    yield from ()


def _vanishing(network: Network, training: Training) -> Iterator[Remedy]:
    name = network.activation.partition(":")[0]
    if network.depth > DEEP:
        yield from _skips(network, training)
    if is_s_shaped(name):
        if name not in NOT_CENTRED:
            yield Remedy(
                _edge_of_chaos(name),
                "sigma_w phi'(0) = 1 is the edge of chaos, where chi_1 = 1 and delta keeps its size",
                "Schoenholz et al. 2017",
            )
        yield Remedy(
            {"network.activation": "relu", "network.init": "he", **_calm(network, training)},
            "the slope is 1 above 0, and He's variance keeps delta's size from layer to layer",
            "Glorot et al. 2011; He et al. 2015",
            ROOM,
        )
    else:
        yield Remedy(
            {"network.init": "auto", **_calm(network, training)},
            "this variance keeps delta's size from layer to layer for the activation (2 / fan_in for ReLU)",
            "He et al. 2015",
            ROOM,
        )
    yield from _skips(network, training)
    yield Remedy(
        {"network.activation": "selu", "network.init": "lecun", **_calm(network, training)},
        "mean 0 and variance 1 are a fixed point, and the slope there is near 1",
        "Klambauer et al. 2017; AutoTrainer (Zhang et al. 2021)",
        ROOM,
    )
    yield _batch_norm()


def _exploding(network: Network, training: Training) -> Iterator[Remedy]:
    name = network.activation.partition(":")[0]
    if network.residual.partition(":")[0] in GROWING_SKIPS:
        yield from _skips(network, training)
    if is_s_shaped(name) and name not in NOT_CENTRED:
        yield Remedy(
            _edge_of_chaos(name),
            "where sigma_w phi'(0) is above 1 the net is chaotic and delta grows with every layer",
            "Poole et al. 2016; Schoenholz et al. 2017",
        )
    yield Remedy(
        {"network.init": "auto", **_calm(network, training)},
        "this variance keeps delta's size from layer to layer for the activation",
        "Glorot and Bengio 2010; He et al. 2015",
        ROOM,
    )
    yield from _skips(network, training)
    yield _clip(training)
    yield Remedy(
        {"network.activation": "selu", "network.init": "lecun", **_calm(network, training)},
        "mean 0 and variance 1 are a fixed point, so neither signal nor delta grows",
        "Klambauer et al. 2017; AutoTrainer (Zhang et al. 2021)",
        ROOM,
    )


def _dead(network: Network, training: Training) -> Iterator[Remedy]:
    calm = _calm(network, training)
    if network.width < NARROW:
        yield Remedy(
            {"network.width": NARROW, **calm},
            "a layer of n units is born dead with a probability that falls like 2^-n",
            "Lu et al. 2020",
            ROOM,
        )
    yield Remedy(
        {"network.activation": "leaky_relu:negative_slope=0.2", "network.init": "he", **calm},
        "a slope below 0 keeps every unit alive",
        "Maas et al. 2013; Lu et al. 2020",
        ROOM,
    )
    yield Remedy(
        {"network.activation": "elu", "network.init": "he", **calm},
        "its slope is positive everywhere and its outputs are centred",
        "Clevert et al. 2016; AutoTrainer (Zhang et al. 2021)",
        ROOM,
    )
    yield _batch_norm()
    if network.init != "auto":
        reason = "biases start at 0, so that half of the inputs pass each unit"
        yield Remedy({"network.init": "auto", **calm}, reason, "He et al. 2015", ROOM)
    yield from _skips(network, training)


def _saturated(network: Network, training: Training) -> Iterator[Remedy]:
    calm = _calm(network, training)
    yield Remedy(
        {"network.init": "auto", **calm},
        "smaller weights keep z where phi has slope",
        "Glorot and Bengio 2010",
        ROOM,
    )
    yield Remedy(
        {"network.norm": "layer"}, "normalised inputs keep z where phi has slope", "Ba, Kiros and Hinton 2016"
    )
    yield Remedy(
        {"network.activation": "relu", "network.init": "he", **calm},
        "no flat part above 0",
        "Glorot et al. 2011",
        ROOM,
    )
    yield _batch_norm()


def _diverged(network: Network, training: Training) -> Iterator[Remedy]:
    usual = usual_rate(training.optimizer)
    if training.lr >= 10 * usual:
        reason = f"ten times and more below this rate is where {training.optimizer} usually trains"
        yield Remedy({"training.lr": usual}, reason, "Goodfellow et al. 2016, section 11.4.1")
    for factor in (10, 100, 1000):
        yield Remedy(
            {"training.lr": _tidy(training.lr / factor)},
            f"a step {factor} times smaller stays inside the region where the loss is close to its tangent",
            "Goodfellow et al. 2016, section 4.3",
        )
    yield _clip(training)
    yield Remedy(
        {"training.optimizer": "adam", "training.lr": 0.001},
        "Adam's steps do not grow with the gradient",
        "Kingma and Ba 2015",
    )


def _underflow(network: Network, training: Training) -> Iterator[Remedy]:
    yield from _vanishing(network, training)


def _not_learning(network: Network, training: Training) -> Iterator[Remedy]:
    usual = usual_rate(training.optimizer)
    if training.lr < usual:
        yield Remedy(
            {"training.lr": usual}, "the rate is smaller than usual, and delta is in order", "Smith 2017"
        )
    for factor in (10, 100):
        yield Remedy(
            {"training.lr": _tidy(min(training.lr * factor, 1.0))},
            f"with delta in order, steps {factor} times larger may be what is missing",
            "Smith 2017",
        )
    yield Remedy(
        {"training.optimizer": "adam", "training.lr": 0.001},
        "Adam scales every weight's step by its own gradient",
        "Kingma and Ba 2015",
    )
    yield _batch_norm()
    yield from _skips(network, training)


FOR = {
    "vanishing": _vanishing,
    "exploding": _exploding,
    "dead": _dead,
    "saturated": _saturated,
    "diverged": _diverged,
    "underflow": _underflow,
    "not-learning": _not_learning,
}


def _skips(network: Network, training: Training) -> Iterator[Remedy]:
    if network.depth < 2 or network.residual.partition(":")[0] not in ("none", *GROWING_SKIPS):
        return
    activation = network.activation.partition(":")[0]
    shallow = network.model_copy(
        update={"depth": 1}
    )  # with a path past the layers, depth asks for no smaller rate
    better = {} if activation not in NOT_CENTRED else {"network.activation": "relu"}
    yield Remedy(
        {"network.residual": "scaled", "network.init": "auto", **better, **_calm(shallow, training)},
        "an identity path carries delta past every layer, branches divided by sqrt(blocks) keep its size",
        "He et al. 2016; Hayou et al. 2021",
        ROOM,
    )


def _edge_of_chaos(name: str) -> dict[str, str | float]:
    """The initialiser with sigma_w phi'(0) = 1: LeCun's has sigma_w = 1, and erf alone has another slope at 0."""
    return {"network.init": "critical" if name == "erf" else "lecun"}


def _batch_norm() -> Remedy:
    return Remedy(
        {"network.norm": "batch"},
        "each unit's input is centred and scaled, so that it is neither always on nor always off",
        "Ioffe and Szegedy 2015; AutoTrainer (Zhang et al. 2021)",
    )


def _clip(training: Training) -> Remedy:
    return Remedy(
        {"training.clip": 1.0}, "no step can be longer than the rate", "Pascanu, Mikolov and Bengio 2013"
    )


def _calm(network: Network, training: Training) -> dict[str, str | float]:
    """A rate at which a net with full-size gradients trains: one chosen for a vanished gradient is too large."""
    usual = usual_rate(training.optimizer)
    safe = usual if network.depth <= DEEP else usual / 3
    return {"training.lr": _tidy(safe)} if training.lr > safe else {}


def _tidy(rate: float) -> float:
    return float(f"{rate:.3g}")


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else format_number(value)
