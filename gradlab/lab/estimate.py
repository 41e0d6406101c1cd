"""What a plan will cost before it is carried out: its stacks, and the time they take by steps that are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from gradlab.config.bound import bind_recording
from gradlab.config.plan import Plan, Stack
from gradlab.lab import cost
from gradlab.lab.division import Division
from gradlab.lab.job import work
from gradlab.parts import record_schedule
from gradlab.store.folder import Claim, ResultsFolder

STEPS = 24  # of each stack that is measured
SAMPLES = 5  # stacks measured, from the cheapest to the dearest
MEASURING_SECONDS = 10.0  # no further stack is measured after so long


@dataclass(frozen=True)
class Forecast:
    """What is left to do.

    stacks:   units of work in the plan; finished: those that the results folder holds already
    workers:  processes that would train
    seconds:  about how long they would take, without the start
    """

    stacks: int
    finished: int
    workers: int
    seconds: float


def estimate(plan: Plan) -> Forecast:
    """Look into the plan's folder and time a few steps of some of the missing stacks; nothing is written.

    Raises UserError when the folder holds something else.
    """
    import torch

    folder = ResultsFolder(Claim.of(plan))
    state = folder.state()
    stacks = plan.stacks()
    missing = stacks if state == "new" else [stack for stack in stacks if folder.finished(stack) is None]
    if not missing:
        return Forecast(len(stacks), len(stacks), 0, 0.0)
    division, workers = Division.of(plan.run, missing, folder.begun())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scale = _measured_over_guessed(_spread(missing))
    finally:
        torch.set_num_threads(threads)
    total = scale * sum(map(cost.seconds, missing))
    longest = scale * max(map(cost.seconds, division.units))
    return Forecast(len(stacks), len(stacks) - len(missing), workers, max(total / workers, longest))


def _spread(stacks: Sequence[Stack]) -> list[Stack]:
    """A few stacks at even distances between the cheapest and the dearest."""
    ordered = sorted(stacks, key=cost.seconds)
    count = min(SAMPLES, len(ordered))
    return [ordered[(len(ordered) - 1) * place // max(count - 1, 1)] for place in range(count)]


def _measured_over_guessed(stacks: Sequence[Stack]) -> float:
    """How much longer stacks take than `cost.seconds` says."""
    measured = guessed = 0.0
    started = perf_counter()
    for stack in stacks:
        if measured and perf_counter() - started > MEASURING_SECONDS:
            break
        measured += _seconds(stack)
        guessed += cost.seconds(stack)
    return measured / guessed


def _seconds(stack: Stack) -> float:
    """The time of a whole stack, from the times of its first plain and recorded steps."""
    steps = stack.cell.training.steps
    records = record_schedule.count(bind_recording(stack.recording).schedule, steps)
    training = stack.cell.training.model_copy(update={"steps": min(steps, STEPS), "schedule": "constant"})
    short = replace(stack, cell=replace(stack.cell, training=training))
    if stack.recording.record == "log":  # every early step of it is a record
        short = replace(short, recording=stack.recording.model_copy(update={"record": "every:4"}))
    times = work(short, lambda *_: None, lambda _: None).timings
    per_record = times["recorded_seconds"] / times["recorded_steps"]
    per_step = times["plain_seconds"] / times["plain_steps"] if times["plain_steps"] else per_record
    return records * per_record + (steps + 1 - records) * per_step + times["prediction_seconds"]
