"""Gradient descent drives the sharpness to 2 / rate and stays there (Cohen, Kaur, Li, Kolter & Talwalkar 2021).

The sharpness is the Hessian's largest eigenvalue. A quadratic diverges where it is above 2 / rate. Full-batch gradient
descent of a tanh net on the squared error first raises the sharpness, then holds it there, and the loss goes on falling
where every quadratic diverges. Gradient descent of small batches stays below. All of it is `gradlab run --sharpness
--probe all --batch-size` of the whole training set: of digits, and of a few random rows that a small net can fit.

gradlab's squared error has no factor 1/2, so that its rates are half of those of a loss with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gradlab.papers.paper import Paper
from gradlab.papers.random_nets import Array, noise
from gradlab.papers.rows import (
    Finding,
    Panel,
    Row,
    Series,
    at_least,
    at_most,
    mean_of,
    relative,
)
from gradlab.papers.training import trained
from gradlab.report.selections import optional_table

PAPER = Paper(
    name="cohen-2021",
    title="gradient descent trains at the edge of stability",
    citation="Cohen, Kaur, Li, Kolter & Talwalkar 2021, Gradient descent typically occurs at the edge of stability",
    order=44,
)

SOURCE = "Cohen et al. 2021"
STEPS, EVERY = 3000, 100
RATE = 0.1
SMALL_RATE, LARGE_RATE = RATE / 2, 1.5 * RATE
FITTED = (
    "the nets have fitted their 48 rows (loss below 1e-5) before they are as sharp as that, and then nothing changes "
    "any more: they end below, each at a sharpness of its own. The statement needs a training that is not over by then"
)


def random_rows() -> tuple[Array, Array]:
    """60 rows of 8 normal inputs with a normal target, of which 48 are trained on."""
    return noise("edge x", 60, 8).numpy(), noise("edge y", 60, 1).numpy()


@dataclass(frozen=True)
class Descent:
    """Of each record and seed: sharpness and training loss, [record, seed]; steps: [record]."""

    steps: Array
    sharpness: Array
    loss: Array

    @property
    def settled(self) -> Array:
        """Mean sharpness of the last third of the records, [seed]."""
        mean: Array = self.sharpness[len(self.steps) * 2 // 3 :].mean(axis=0)
        return mean


def descent(rate: float, *, batch: int = 48, seeds: int, digits: bool = False) -> Descent:
    """Descent of tanh nets with two hidden layers on the squared error, watched on all training rows."""
    drawn = {"data": "gradlab.papers.cohen_2021:random_rows", "task": "regression", "width": 24}
    result = trained(
        **({"data": "digits", "width": 32} if digits else drawn),
        activation="tanh",
        init="lecun",
        depth=2,
        loss="mse",
        optimizer="sgd",
        lr=rate,
        batch_size=batch,
        steps=STEPS // 2 if digits else STEPS,
        record=f"every:{EVERY}",
        probe="all",
        sharpness=True,
        seeds=seeds,
    )
    steps = result.steps.pivot(index="step", columns="seed", values="train_loss")
    table = optional_table(result, "sharpness")
    assert table is not None, "it was asked for"
    sharp = table.pivot(index="step", columns="seed", values="sharpness")
    return Descent(steps.index.to_numpy(dtype=np.float64), sharp.to_numpy(), steps.to_numpy())


def reproduce(quick: bool) -> Iterator[Finding]:
    seeds = 3 if quick else 6
    lines = []
    for rate in (SMALL_RATE, RATE, LARGE_RATE):
        found = descent(rate, seeds=seeds)
        lines += _lines(f"rate {rate:g}", rate, found)
        yield _edge(f"rate {rate:g}", "48 random rows", rate, found, FITTED if rate == SMALL_RATE else "")
        if rate == SMALL_RATE:
            continue
        yield Row(
            row=f"loss at the edge, rate {rate:g}",
            statement="the loss goes on falling: its last value over that after the first third",
            published="decreases over long timescales",
            measured=mean_of(found.loss[-1] / found.loss[len(found.steps) // 3]),
            tolerance=at_most(1.0, "the word decreases"),
            source=f"{SOURCE}, abstract",
            provenance="P",
        )
        if rate == RATE:
            yield Row(
                row="progressive sharpening",
                statement=f"sharpness at the edge over that at the start, rate {rate:g}",
                published="rises",
                measured=mean_of(found.settled / found.sharpness[0]),
                tolerance=at_least(1.0, "the word rises"),
                source=f"{SOURCE}, introduction: below 2 / rate it tends to rise continually",
                provenance="P",
            )
    yield Panel("Sharpness of full-batch gradient descent", "step", "largest eigenvalue", lines)
    real = descent(2 * RATE, batch=1438, seeds=3, digits=True)
    yield _edge("digits", "digits", 2 * RATE, real, "")
    yield Panel(
        "Sharpness on digits", "step", "largest eigenvalue", _lines(f"rate {2 * RATE:g}", 2 * RATE, real)
    )
    small = descent(RATE, batch=4, seeds=seeds)
    yield Row(
        row="small batches",
        statement=f"sharpness under batches of 4 over 2 / rate, rate {RATE:g}",
        published="below 1",
        measured=mean_of(small.settled * RATE / 2),
        tolerance=at_most(1.0, "it stays below"),
        source="SGD at the edge of stability: the stochastic sharpness gap (2026), abstract: batches hold it below 2 / "
        "rate, the more so the smaller they are",
        provenance="P",
    )


def _edge(name: str, rows: str, rate: float, found: Descent, why: str) -> Row:
    return Row(
        row=f"sharpness at the edge, {name}",
        statement=f"mean sharpness of the last third of {int(found.steps[-1])} steps of full-batch gradient descent, "
        f"{rows}, rate {rate:g}",
        published=2 / rate,
        measured=mean_of(found.settled),
        tolerance=relative(
            2 / rate, 0.1, "it hovers right at, or just above, this value: a tenth for the word just"
        ),
        source=f"{SOURCE}, figure 1 and abstract",
        provenance="P",
        found=why,
    )


def _lines(name: str, rate: float, found: Descent) -> list[Series]:
    ends = [float(found.steps[0]), float(found.steps[-1])]
    return [
        Series(name, found.steps.tolist(), found.sharpness.mean(axis=1).tolist()),
        Series(f"2 / {rate:g}", ends, [2 / rate] * 2),
    ]
