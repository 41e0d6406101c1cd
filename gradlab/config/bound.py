"""The texts of a configuration as the parts that they name, made once: when a plan checks them, and at the start of a
job. Nothing behind it reads those texts again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gradlab import activations, sensors
from gradlab.activations import Activation
from gradlab.base.errors import Problem, UserError, attempt
from gradlab.base.own import Own
from gradlab.config.keys import KEYS
from gradlab.config.sections import Network, Recording, Training
from gradlab.parts import inits, losses, norms, optimizers, rates, record_rows, record_schedule, residuals
from gradlab.parts.inits import Init
from gradlab.parts.losses import Loss
from gradlab.parts.norms import Norm
from gradlab.parts.optimizers import Optimizer
from gradlab.parts.rates import Rate
from gradlab.parts.record_rows import Rows
from gradlab.parts.record_schedule import Schedule
from gradlab.parts.residuals import Residual
from gradlab.sensors import own_columns
from gradlab.sensors.own_columns import Metrics

Where = Callable[[str], str]
"""How an error names the place of a key, by its path."""
SAMPLES = 4  # on which a user's own norm is tried, where a batch is not smaller, and a user's own column


@dataclass(frozen=True)
class BoundTraining:
    """The parts of [training]; section: its values, in canonical texts."""

    section: Training
    optimizer: Optimizer
    loss: Loss
    rate: Rate

    @property
    def own(self) -> dict[str, Own]:
        """What of it the user named, by the key's path."""
        found = {"training.optimizer": self.optimizer.own, "training.loss": self.loss.own}
        return {path: own for path, own in found.items() if own is not None}


@dataclass(frozen=True)
class BoundRecording:
    """The parts of [recording]. schedule: None where no layers are recorded; probe: its rows; eval_rows: of the
    validation split at a record."""

    section: Recording
    schedule: Schedule | None
    probe: Rows
    eval_rows: Rows
    metrics: Metrics

    @property
    def own(self) -> dict[str, Own]:
        """What of it the user named, by the key's path and the column."""
        return {f"recording.metrics:{name}": own for name, own in self.metrics.own.items()}


@dataclass(frozen=True)
class Bound:
    """The parts of one cell; network: the values of [network], in canonical texts."""

    network: Network
    activation: Activation
    init: Init
    norm: Norm
    residual: Residual
    training: BoundTraining
    recording: BoundRecording

    @property
    def own(self) -> dict[str, Own]:
        """What of it the user named, by the key's path."""
        found = {
            "network.activation": self.activation.own,
            "network.init": self.init.own,
            "network.norm": self.norm.own,
        }
        named = {path: own for path, own in found.items() if own is not None}
        return named | self.training.own | self.recording.own


def flag_of(path: str) -> str:
    """The flag of a key: `--lr`."""
    return KEYS[path].option


def bind(network: Network, training: Training, recording: Recording, where: Where = flag_of) -> Bound:
    """The parts that the sections name. Raises UserError with every problem."""
    problems: list[Problem] = []
    activation = attempt(
        problems, lambda: activations.get(network.activation, where("network.activation"), own=True)
    )
    init = activation and attempt(
        problems, lambda: inits.get(network.init, activation, where("network.init"), own=True)
    )
    sample = (min(training.batch_size, SAMPLES), network.width)
    norm = attempt(problems, lambda: norms.get(network.norm, where("network.norm"), sample=sample))
    residual = attempt(
        problems, lambda: residuals.get(network.residual, network.depth, where("network.residual"))
    )
    taught = attempt(problems, lambda: bind_training(training, where))
    recorded = attempt(problems, lambda: bind_recording(recording, where))
    if recorded and recorded.metrics.own:
        attempt(problems, lambda: _try_columns(recorded.metrics, network.width))
    if norm and norm.over_batch and training.batch_size == 1:
        message = f"{norm.name} norm needs two samples or more"
        problems.append(Problem(where("training.batch_size"), message, ">= 2"))
    if init and taught and init.base is not None and taught.optimizer.by_rate is None:
        problems.append(_unknown_step(taught.optimizer, where("training.optimizer")))
    if problems:
        raise UserError(problems)
    texts = {"activation": activation.text, "init": init.text, "norm": norm.text, "residual": residual.text}
    return Bound(network.model_copy(update=texts), activation, init, norm, residual, taught, recorded)


def _unknown_step(optimizer: Optimizer, where: str) -> Problem:
    message = f"{optimizer.text} has no rates by layer, since nobody knows how its step depends on the gradient's size"
    return Problem(where, message, ", ".join(optimizers.OPTIMIZERS), "or another --init than mup")


def _try_columns(metrics: Metrics, width: int) -> None:
    """Call the user's own columns on made-up activations. Raises ConfigError where one fails."""
    import torch

    from gradlab.sensors.metrics import users

    users(metrics.own, torch.linspace(-1, 1, SAMPLES * width).reshape(1, SAMPLES, width))


def bind_training(training: Training, where: Where = flag_of) -> BoundTraining:
    """The parts of [training]. Raises UserError with every problem."""
    problems: list[Problem] = []

    def place(key: str) -> str:
        return where(f"training.{key}")

    optimizer = attempt(
        problems,
        lambda: optimizers.get(
            training.optimizer,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            where=place,
            own=True,
        ),
    )
    loss = attempt(problems, lambda: losses.get(training.loss, place("loss"), own=True))
    rate = attempt(
        problems, lambda: rates.parse(training.schedule, training.lr, training.steps, place("schedule"))
    )
    if problems:
        raise UserError(problems)
    texts = {"optimizer": optimizer.text, "loss": loss.text, "schedule": rate.text}
    return BoundTraining(training.model_copy(update=texts), optimizer, loss, rate)


def bind_recording(recording: Recording, where: Where = flag_of) -> BoundRecording:
    """The parts of [recording]. Raises UserError with every problem."""
    problems: list[Problem] = []
    schedule = attempt(problems, lambda: record_schedule.parse(recording.record, where("recording.record")))
    probe = attempt(problems, lambda: record_rows.parse(recording.probe, where("recording.probe")))
    eval_rows = attempt(
        problems, lambda: record_rows.parse(recording.eval_rows, where("recording.eval_rows"))
    )
    flags = [key.flag for key in KEYS.values()]  # a key that varies is a column of every table
    metrics = attempt(
        problems, lambda: own_columns.get(recording.metrics, where("recording.metrics"), taken=flags)
    )
    for table in recording.asked if recording.record == "off" else ():
        if option := sensors.optional()[table].table.option:
            message = "they are taken at the records, and record = off makes none"
            problems.append(
                Problem(where(f"recording.{option.name}"), message, "record = log, all or every:N")
            )
    if problems:
        raise UserError(problems)
    section = recording.model_copy(update={"metrics": metrics.text})
    return BoundRecording(section, schedule, probe, eval_rows, metrics)
