"""What is measured: every function yields the figures of one group."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from statistics import median

import numpy as np
import torch
from scipy.optimize import curve_fit

from benchmarks.speed.large_data import mnist
from benchmarks.speed.pairs import ROOT, Figure, command, ratios, seconds
from gradlab.base import blas
from gradlab.base.allocator import keep_freed_memory
from gradlab.config.plan import Stack, make
from gradlab.config.resolve import resolve
from gradlab.nn.products import Call, product
from gradlab.parts import record_schedule
from gradlab.train.loop import train_stack

GRADLAB = ("-m", "gradlab")
# As gradlab's own processes have it; what runs as a command is not concerned.
torch.set_num_threads(1)
keep_freed_memory()


def compare(*flags: str) -> float:
    """Seconds of `gradlab compare` as a command, start and tables included."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds(lambda: command(*GRADLAB, "compare", *flags, "--out", f"{folder}/out", "--quiet"))


def grid(pairs: int) -> Iterator[Figure]:
    """The default comparison against what a user would write: whole commands, from start to end."""
    here = "recorded default grid: "
    for hooked, goal, what in (
        (("hooked",), ">= 6", "a script with hooks and .item()"),
        ((), ">= 3.5", "the script without any recording"),
    ):
        found = ratios(
            compare, lambda h=hooked: seconds(lambda: command("-m", "benchmarks.speed.script", *h)), pairs
        )
        yield Figure("grid", f"{here}{what}, time over gradlab compare's", found, goal)
    found = ratios(
        compare, lambda: seconds(lambda: command("-m", "benchmarks.speed.in_jax", "grid")), pairs, warm=False
    )
    yield Figure("grid", f"{here}JAX without recording, compilation included", found, ">= 8")
    found = ratios(lambda: compare("--workers", "2"), lambda: compare("--workers", "1"), pairs, warm=False)
    yield Figure("grid", f"{here}one worker's time over two workers'", found, ">= 1.7")


def jax(pairs: int) -> Iterator[Figure]:
    """Training alone, without records, start and compilation: four cells, two processes against JAX on two cores."""
    activations, steps = ("relu", "sigmoid", "leaky_relu", "gelu"), {64: 1000, 128: 300}
    for width, count in steps.items():
        flags = ("--activation", ",".join(activations), "--depth", "20", "--width", str(width), "--seeds", "5",
                 "--record", "off", "--workers", "2")  # fmt: skip

        def own(flags: tuple[str, ...] = flags, count: int = count) -> float:
            return compare(*flags, "--steps", str(count)) - compare(*flags, "--steps", "1")

        def theirs(width: int = width, count: int = count) -> float:
            return float(
                command("-m", "benchmarks.speed.in_jax", "steady", str(width), "64", str(count), *activations)
            )

        what = f"JAX's steady state over ours, width {width}, batch 64, depth 20, 5 seeds"
        yield Figure("jax", what, ratios(own, theirs, pairs, warm=False), ">= 1")


def stack(**flags: object) -> Stack:
    request = resolve(flags={name: str(value) for name, value in flags.items()})
    return make(request).stacks()[0]


def training(**flags: object) -> Callable[[], float]:
    """A training of one stack on one thread, which returns its seconds."""
    return _trained(stack(**flags))


def _trained(stack: Stack) -> Callable[[], float]:
    data = stack.cell.dataset()
    return lambda: seconds(lambda: train_stack(stack, data))


def overhead(pairs: int) -> Iterator[Figure]:
    """The time of a training that records over the time of one that does not."""
    for activation in ("sigmoid", "relu"):
        for flags, goal, what in (
            ({"record": "log"}, "<= 1.05", "default schedule, 1,000 steps, probe of 512"),
            ({"record": "log", "probe": 64}, "", "default schedule, 1,000 steps, probe of 64"),
            ({"record": "all", "steps": 50}, "<= 1.3", "every step, probe of 512"),
            ({"record": "all", "steps": 50, "probe": 64}, "", "every step, probe of 64"),
        ):
            shape = {"activation": activation, "depth": 20, **flags}
            found = ratios(training(**{**shape, "record": "off"}), training(**shape), pairs)
            yield Figure(
                "overhead", f"{activation}, depth 20, width 64, batch 64, 3 seeds: {what}", found, goal
            )


@lru_cache(maxsize=1)
def _matrices() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(1, 2048, 2048), torch.randn(1, 2048, 2048), torch.empty(1, 2048, 2048)


def large_rate(multiply: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Call]) -> Callable[[], float]:
    """FLOP/s of one product of 2048 x 2048 matrices on one thread."""
    run = multiply(*_matrices())
    return lambda: 2 * 2048**3 / min(seconds(run) for _ in range(3))


def by_torch(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> Call:
    return partial(torch.bmm, a, b, out=out)


def limit(pairs: int) -> Iterator[Figure]:
    """FLOP/s over a large product's, torch's and that of the library that gradlab multiplies with: of whole recorded
    runs, with every product that they make; and of a training step's products with nothing between them."""
    goals = {64: ">= 0.55", 128: ">= 0.75", 256: ">= 0.85", 512: ">= 0.85"}
    depth, batch, replicas = 20, 128, 5
    ours = f"that of {blas.name()}"
    larges = {"torch.bmm": large_rate(by_torch)} | ({} if blas.own() is None else {ours: large_rate(product)})
    whole = "one large product's FLOP/s, "
    if blas.own():
        yield Figure("limit", f"{whole}{ours} over torch.bmm's", ratios(*larges.values(), pairs))
    for width, goal in goals.items():
        # 34 records in 1,000 steps is one in 30: wider nets run fewer steps with records as dense.
        steps = max(60, min(1000, 1000 * 64**2 // width**2))
        record = "log" if steps == 1000 else "every:30"
        for activation in ("relu", "sigmoid") if width == 64 else ("relu",):
            made = stack(activation=activation, depth=depth, width=width, batch_size=batch, seeds=replicas,
                         steps=steps, record=record)  # fmt: skip
            run, flop = _trained(made), _products(made)
            what = f"{activation}, width {width}, batch {batch}, 5 seeds, {steps} steps, records {record}"
            for library, large in larges.items():
                shares = ratios(large, lambda run=run, flop=flop: flop / run(), pairs)
                yield Figure("limit", f"{what}: share of {whole}{library}", shares, goal)
        rate = _product_rate(replicas, batch, width)
        what = f"width {width}, batch {batch}, 5 seeds: the products of a step alone"
        library, large = list(larges.items())[-1]
        yield Figure("limit", f"{what}: share of {whole}{library}", ratios(large, rate, pairs))


def _products(stack: Stack) -> float:
    """FLOP of the products of all training steps, and of what records send through the net besides: forward, the
    validation split and the probe. The step after the last update is a record's."""
    cell, training = stack.cell, stack.cell.training
    data, width, seeds = cell.dataset(), cell.network.width, len(stack.seeds)
    first = data.features * width
    weights = first + (cell.network.depth - 1) * width**2 + data.classes * width
    step = 2.0 * seeds * training.batch_size * (3 * weights - first)  # nobody asks for the inputs' gradient
    rows = stack.bound.recording.probe
    probe = len(data.x_train) if rows is None else rows
    records = record_schedule.count(stack.bound.recording.schedule, training.steps)
    return step * (training.steps + 1) + 2.0 * seeds * weights * (len(data.x_val) + probe) * records


def _product_rate(replicas: int, batch: int, width: int, layers: int = 20) -> Callable[[], float]:
    """FLOP/s of the three products of each hidden layer of a training step, in buffers of their own."""
    weights = torch.randn(layers, replicas, width, width) / width**0.5
    gradients = torch.empty_like(weights)
    h = torch.randn(layers + 1, replicas, batch, width)
    delta = torch.randn(2, replicas, batch, width)
    up = [product(h[layer], weights[layer], h[layer + 1]) for layer in range(layers)]
    down = [
        (
            product(h[layer].transpose(1, 2), delta[layer % 2], gradients[layer]),
            product(delta[layer % 2], weights[layer].transpose(1, 2), delta[1 - layer % 2]),
        )
        for layer in reversed(range(layers))
    ]

    def step() -> None:
        for multiply in up:
            multiply()
        for across, below in down:
            across()
            below()

    flop = 3 * 2.0 * layers * replicas * batch * width**2
    return lambda: flop / median(seconds(step) for _ in range(9))


def _exponent(sizes: Sequence[int], times: Sequence[float]) -> float:
    """p of seconds = a + b n^p, fitted in relative error."""
    n, t = np.array(sizes, dtype=float) / sizes[-1], np.array(times)
    start = (max(t[0] - t[-1] * n[0], 1e-6), t[-1], 1.0)
    found, _ = curve_fit(
        lambda n, a, b, p: a + b * n**p, n, t, p0=start, sigma=t, bounds=(0, [np.inf, np.inf, 3])
    )
    return float(found[2])


def growth(pairs: int) -> Iterator[Figure]:
    """Exponents of time against size, each fitted beside a constant, `pairs` times."""
    small = {"activation": "relu", "record": "log"}
    axes: dict[str, tuple[Sequence[int], Callable[[int], Callable[[], float]], str]] = {
        "depth": ((5, 20, 80, 300, 1000), lambda n: training(**small, depth=n, steps=20), "1.0 +- 0.05"),
        "width": ((64, 128, 256, 512, 1024), lambda n: training(**small, depth=5, width=n, steps=20), ""),
        "seeds": ((1, 4, 16, 64), lambda n: training(**small, depth=10, seeds=n, stack_size=64, steps=50), ""),
        "steps": ((100, 300, 1000, 3000),
                  lambda n: training(**{**small, "record": "every:30"}, depth=10, steps=n), "1.0 +- 0.05"),
        "cells": ((1, 10, 100, 1000), _cells, "1.0 +- 0.05"),
    }  # fmt: skip
    for name, (sizes, make_run, goal) in axes.items():
        runs = [make_run(n) for n in sizes]
        for run in runs:
            if name != "cells":
                run()
        found = [_exponent(sizes, [run() for run in runs]) for _ in range(pairs if name != "cells" else 2)]
        span = f"{sizes[0]} to {sizes[-1]}"
        yield Figure("growth", f"time against {name}, {span}: exponent beside a constant", found, goal)


def memory(pairs: int) -> Iterator[Figure]:
    """Peak memory of a process against size, with the exponent fitted beside what the process takes anyway."""
    axes = {"depth": (5, 80, 300, 1000), "width": (64, 256, 512, 1024), "seeds": (1, 4, 16, 64),
            "steps": (100, 3000), "cells": (1, 10, 100, 1000)}  # fmt: skip
    for name, sizes in axes.items():
        peaks = [_peak(name, n) for n in sizes]
        note = f"{peaks[0]:.0f} to {peaks[-1]:.0f} MB"
        if name == "steps":
            what = f"peak memory at {sizes[1]:,} steps over {sizes[0]}"
            yield Figure("memory", what, [peaks[1] / peaks[0]], "1", note)
        else:
            what = f"peak memory against {name}, {sizes[0]} to {sizes[-1]}: exponent beside a constant"
            yield Figure("memory", what, [_exponent(sizes, peaks)], note=note)


def _cells(count: int) -> Callable[[], float]:
    return lambda: compare(*_cell_flags(count))


def _cell_flags(count: int) -> tuple[str, ...]:
    """A comparison of so many small cells, trained in the command's own process."""
    rates = ",".join(f"{0.01 + 0.00001 * k:.5f}" for k in range(count))
    return (
        *("--activation", "relu", "--depth", "2", "--width", "8", "--lr", rates),
        *("--steps", "20", "--seeds", "1", "--workers", "1"),
    )


PEAK = """
# not getrusage, whose peak of a child process begins with its parent's
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024)
"""
OF_TRAINING = """
import sys
from pathlib import Path
from benchmarks.speed.groups import training
flags = dict(activation="relu", depth=10, steps=100, stack_size=64, record="every:30")
flags[sys.argv[1]] = int(sys.argv[2])
training(**flags)()
"""
OF_COMMAND = """
import sys
from pathlib import Path
from gradlab.cli.main import main
assert main(sys.argv[1:]) == 0
"""


def _peak(name: str, size: int) -> float:
    """MB of a training, or of a command that compares so many cells."""
    if name != "cells":
        return float(command("-c", OF_TRAINING + PEAK, name, str(size)))
    with tempfile.TemporaryDirectory() as folder:
        flags = (*_cell_flags(size), "--out", f"{folder}/out", "--quiet")
        return float(command("-c", OF_COMMAND + PEAK, "compare", *flags).splitlines()[-1])


def start(pairs: int) -> Iterator[Figure]:
    """How long it takes until something happens."""

    def once() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return seconds(
                lambda: command(*GRADLAB, "run", "--steps", "1", "--out", f"{folder}/out", "--quiet")
            )

    bare = [seconds(lambda: command("-c", "import torch")) for _ in range(2)][-1]
    what = "gradlab run of one step over `import torch` alone"
    yield Figure("start", what, ratios(lambda: seconds(lambda: command("-c", "import torch")), once, pairs), "<= 1.5",
                 f"import torch {bare:.2f} s")  # fmt: skip
    helps = [seconds(lambda: command(*GRADLAB, "--help")) for _ in range(pairs)]
    yield Figure("start", "gradlab --help, seconds", helps, "< 0.3")
    for package, spent in _imports().items():
        yield Figure("start", f"gradlab run of one step: seconds to import {package}", [spent])


def _imports() -> dict[str, float]:
    """Seconds that the modules of each package take by themselves in a run of one step, the dearest packages first."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *GRADLAB, "run", "--steps", "1", "--out", f"{folder}/out"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    spent: dict[str, float] = {}
    for line in done.stderr.splitlines():
        if line.startswith("import time:") and "|" in line and "self [us]" not in line:
            own, _, module = line.removeprefix("import time:").split("|")
            package = module.strip().split(".")[0]
            spent[package] = spent.get(package, 0.0) + float(own) / 1e6
    return dict(sorted(spent.items(), key=lambda pair: -pair[1])[:8])


GROUPS: dict[str, Callable[[int], Iterator[Figure]]] = {
    "start": start,
    "overhead": overhead,
    "limit": limit,
    "jax": jax,
    "grid": grid,
    "mnist": mnist,
    "growth": growth,
    "memory": memory,
}
