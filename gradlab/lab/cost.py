"""What a stack costs, before it is trained: enough to order stacks, to choose workers and to judge their memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from gradlab import sensors
from gradlab.base import blas
from gradlab.base.errors import Problem, UserError
from gradlab.base.machine import available_memory, cores
from gradlab.config.bound import bind_recording, bind_training
from gradlab.config.plan import Stack, load_data
from gradlab.config.sections import Config, Data, Network, Run, Training
from gradlab.parts import record_schedule
from gradlab.train import EVALUATION_ROWS

LAYER_SECONDS = 10e-6  # what a layer costs a step however small it is: some twenty calls of small kernels
FLOPS = (
    1.5e11 if blas.own() else 8e10
)  # a core's float32 rate in a step's products, by gradlab's own BLAS or torch
UNSURE = 2.0  # `memory` may be too high by this factor
WORTH_WORKERS = 1.5  # seconds of work below which worker processes start up for longer than they save


def seconds(stack: Stack) -> float:
    """Roughly how long one core takes to train a stack, within a factor of three or so."""
    cell = stack.cell
    return _seconds(cell.network, cell.training, len(stack.seeds), _ends(cell.data, cell.digest))


def least_seconds(config: Config) -> float:
    """As `seconds`, of all seeds of one cell whose data are not known yet: no less than this."""
    return _seconds(config.network, config.training, config.run.seeds, 0)


@cache
def _ends(section: Data, digest: str) -> int:
    """Inputs and outputs of a net on a data set; of more data sets than are held in memory each is looked at once."""
    dataset = load_data(section, digest)
    return dataset.features + dataset.outputs


def _seconds(network: Network, training: Training, seeds: int, ends: int) -> float:
    """ends: inputs and outputs"""
    weights = ((network.depth - 1) * network.width + ends) * network.width
    # A product forward and two backward, a multiplication and an addition each.
    work = 6 * seeds * training.batch_size * weights
    per_step = network.depth * LAYER_SECONDS + work / FLOPS
    return (training.steps + 1) * per_step


def memory(stack: Stack) -> int:
    """Roughly how many bytes training a stack takes besides the libraries, within a factor of two."""
    network, training, recording = stack.cell.network, stack.cell.training, stack.recording
    recorded = bind_recording(recording)
    dataset, replicas, width = stack.cell.dataset(), len(stack.seeds), network.width
    item = {"float64": 8, "float32": 4, "bfloat16": 2}[stack.cell.dtype]
    weights = replicas * width * (dataset.features + (network.depth - 1) * width + dataset.outputs)
    # Weights, gradients, the update and the weights before it; the recorder's norms are taken in float64.
    held = weights * ((4 + _kept(training)) * item + 2 * 8)
    # z, h and delta of each layer in a recorded step; z and h of a plain one, or what a norm remembers.
    kept = 5
    batch = replicas * training.batch_size * width * network.depth * kept * item
    probe = min(recorded.probe.of(dataset.features) or len(dataset.y_train), len(dataset.y_train))
    rows = max(probe * 6 * 8, min(len(dataset.y_val), EVALUATION_ROWS) * 4 * item)
    for name in recording.asked:  # what a sensor lays beside each entry of a pass, and beside the weights
        sensor = sensors.optional()[name]
        layers = network.depth if sensor.whole_pass else 1
        rows = max(rows, max(probe, training.batch_size) * sensor.bytes_an_entry * layers)
        held += weights * sensor.bytes_a_weight
    numbers = sum(table.numbers(network.depth + 1) for table in recording.tables().values())
    shared = dataset.single is not None and item == 4
    data = 0 if shared else (dataset.x_train.size + dataset.x_val.size) * (8 + item)
    # Records are collected one by one and in the end laid together.
    when = recorded.schedule
    made = record_schedule.count(when, training.steps) if when else 0
    records = 2 * 8 * made * replicas * numbers
    return held + batch + replicas * width * rows + data + records


@lru_cache
def _kept(training: Training) -> int:
    """How many tensors of a weight's size the optimiser keeps; asked once for cells that differ in the net alone."""
    return bind_training(training).optimizer.state


def check_memory(stacks: Sequence[Stack]) -> str | None:
    """A warning where a stack may not fit into memory. Raises UserError where it cannot, with the numbers."""
    available = available_memory()
    on_cpu = [stack for stack in stacks if stack.cell.device == "cpu"]
    if available is None or not on_cpu:
        return None
    largest = max(on_cpu, key=memory)
    need, network = memory(largest), largest.cell.network
    if need <= available:
        return None
    text = (
        f"{len(largest.seeds)} seeds of depth {network.depth} and width {network.width} trained together take about "
        f"{need / 2**30:.1f} GiB, and {available / 2**30:.1f} GiB are free"
    )
    if need <= UNSURE * available:
        return text
    hint = "a smaller --stack-size (seeds trained together), --width, --batch-size or --probe, or a rarer --record"
    raise UserError(Problem("memory", text, hint=hint))


def largest_first(stacks: Sequence[Stack]) -> list[Stack]:
    """So that no long stack starts last, when the other workers have nothing left to do."""
    return sorted(stacks, key=seconds, reverse=True)


def workers_wanted(run: Run, stacks: Sequence[Stack]) -> int:
    """How many processes shall train the stacks: as configured, else one a core where there is enough to do."""
    if run.workers is not None:
        return run.workers
    on_cpu = all(stack.cell.device == "cpu" for stack in stacks)
    return cores() if on_cpu and sum(map(seconds, stacks)) >= WORTH_WORKERS else 1
