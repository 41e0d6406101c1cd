"""A cure followed to the letter: the same program with what the diagnosis says, where no model's code has to change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.clinic.loop import probe_of
from benchmarks.clinic.program import Setup
from gradlab.analyse.cure import Cure
from gradlab.lab.watch.prepared import standardiser
from gradlab.recorder.unit_variance import unit_variance
from gradlab.recorder.units import call

MECHANICAL = (
    "rate", "clip", "warm-up", "standardise-inputs", "standardise-targets", "criterion", "initial-weights",
)  # fmt: skip


def follow(setup: Setup, cure: Cure) -> None:
    """Change the setup in place. Raises whatever the program does with what it does not take."""
    kinds: dict[str, Callable[[Setup, Any], None]] = {
        "rate": _rate,
        "clip": _clip,
        "warm-up": _warm_up,
        "standardise-inputs": _inputs,
        "standardise-targets": _targets,
        "criterion": _criterion,
        "initial-weights": _weights,
    }
    kinds[cure.do](setup, cure.to)


def _rate(setup: Setup, rate: float) -> None:
    _with_optimizer(setup, lambda optimizer: [group.update(lr=rate) for group in optimizer.param_groups])


def _clip(setup: Setup, length: float) -> None:
    def clip(optimizer: Optimizer, *_: Any) -> None:
        every = [each for group in optimizer.param_groups for each in group["params"]]
        nn.utils.clip_grad_norm_(every, length)

    _with_optimizer(setup, lambda optimizer: optimizer.register_step_pre_hook(clip))


def _warm_up(setup: Setup, steps: float) -> None:
    def attach(optimizer: Optimizer) -> None:
        rates, count = [group["lr"] for group in optimizer.param_groups], [0]

        def warm(*_: Any) -> None:
            count[0] += 1
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, 0.01 + 0.99 * count[0] / steps)

        optimizer.register_step_pre_hook(warm)

    _with_optimizer(setup, attach)


def _with_optimizer(setup: Setup, change: Callable[[Optimizer], Any]) -> None:
    make = setup.optimizer

    def made(parameters: Iterable[nn.Parameter]) -> Optimizer:
        optimizer = make(parameters)
        change(optimizer)
        return optimizer

    setup.optimizer = made


def _inputs(setup: Setup, _: Any) -> None:
    scaled = standardiser([setup.x], "x")
    setup.x = scaled(setup.x)
    _scored_on_the_old(setup, inside=scaled, outside=lambda out: out)


def _targets(setup: Setup, _: Any) -> None:
    assert setup.y is not None
    mean, deviation = setup.y.float().mean(0), setup.y.float().std(0)
    setup.y = (setup.y - mean) / deviation
    _scored_on_the_old(setup, inside=lambda x: x, outside=lambda out: out * deviation + mean)


def _scored_on_the_old(setup: Setup, inside: Callable[..., Any], outside: Callable[[Tensor], Tensor]) -> None:
    """The score is that of a model of the data as they were."""
    if setup.score is None:
        return
    score = setup.score

    class Scaled(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, *x: Tensor) -> Tensor:
            return outside(call(self.model, inside(x if len(x) > 1 else x[0])))

    setup.score = lambda model: score(Scaled(model))


def _criterion(setup: Setup, name: str) -> None:
    loss = getattr(nn, name)()
    if name.startswith("BCE"):  # shares for each output, whatever form the classes had
        setup.criterion = lambda out, y: loss(
            out.reshape(y.shape) if out.numel() == y.numel() else out, y.to(out.dtype)
        )
    else:
        setup.criterion = loss


def _weights(setup: Setup, _: Any) -> None:
    unit_variance(setup.model, probe_of(setup))
