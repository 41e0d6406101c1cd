"""What a `Recorder` and its `step` are given, checked: the model, its modules, the optimisers, the loss scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from numbers import Integral, Real

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer

from gradlab.base.errors import ConfigError, Problem, nearest
from gradlab.recorder.ledger import row_name
from gradlab.recorder.processes import WORDS, computes_in_parts
from gradlab.tables.layers import LEVELS

WITHOUT_HOOKS = "gradients"
METRICS = (WITHOUT_HOOKS, *LEVELS)


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside torch.compile, DistributedDataParallel or DataParallel: its calls are the same, and it alone
    runs a probe without talking to other processes."""
    if not isinstance(model, nn.Module):
        raise ConfigError(Problem("model", f"{type(model).__name__} is no torch.nn.Module", "a model"))
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def problems_of(model: nn.Module, metrics: str) -> list[Problem]:
    """Everything that keeps the model from being recorded."""
    problems = []
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        if isinstance(parameter, UninitializedParameter):
            hint = "run one batch through the model first"
            problems.append(Problem("model", f"{name} has no shape yet (a lazy module)", hint=hint))
        elif parameter.is_meta:
            hint = "move it to a device with model.to_empty and initialise it"
            problems.append(Problem("model", f"{name} is on the meta device and holds no numbers", hint=hint))
    if not parameters:
        problems.append(Problem("model", "the model has no parameters, so no gradients", "one or more"))
    if metrics != WITHOUT_HOOKS and computes_in_parts(model):
        hint = f"record the norms of the whole parameters, with metrics={WITHOUT_HOOKS!r}"
        problems.append(
            Problem(
                "model",
                "ranks compute parts of its layers (tensor parallelism): no rank sees a signal",
                hint=hint,
            )
        )
    if metrics != WITHOUT_HOOKS and isinstance(model, torch.jit.ScriptModule):
        problems.append(_scripted("the model"))
    return problems


def problems_with(
    schedule: str,
    steps: int | None,
    first_step: int,
    loss_reduction: str | float,
    accumulation: int,
    batch_dim: int,
    processes: str | None,
) -> list[Problem]:
    """Everything that is wrong with what the caller says of the loop."""
    divisor = isinstance(loss_reduction, Real) and 0 < loss_reduction < float("inf")
    checked = (
        ("schedule", schedule, isinstance(schedule, str), "log, all, every:N"),
        ("steps", steps, steps is None or (isinstance(steps, Integral) and steps >= 1), "a whole number >= 1"),
        ("first_step", first_step, isinstance(first_step, Integral) and first_step >= 0, "a whole number >= 0"),
        ("loss_reduction", loss_reduction, loss_reduction in ("mean", "sum") or divisor,
         "mean, sum, or a number above 0"),
        ("accumulation", accumulation, isinstance(accumulation, Integral) and accumulation >= 1, "a whole number >= 1"),
        ("processes", processes, processes is None or processes in WORDS, " or ".join(WORDS)),
        ("batch_dim", batch_dim, isinstance(batch_dim, Integral) and batch_dim >= 0, "a whole number >= 0"),
    )  # fmt: skip
    return [Problem(name, f"{value!r}", allowed) for name, value, right, allowed in checked if not right]


def chosen(
    modules: dict[str, nn.Module], layers: Iterable[str] | None, metrics: str, problems: list[Problem]
) -> dict[str, nn.Module]:
    """The modules that one of the paths or patterns names, in the model's order; what is wrong goes to `problems`."""
    if not modules:
        problems.append(
            Problem("model", "it has no module with parameters besides its activations", "a layer")
        )
        return {}
    given = ["*"] if layers is None else [layers] if isinstance(layers, str) else layers
    if not (isinstance(given, Sequence) and given and all(isinstance(each, str) for each in given)):
        problems.append(Problem("layers", f"{layers!r}", "paths of modules, or patterns such as encoder.*"))
        return {}
    patterns = ["" if each == row_name(("", 1)) else each for each in given]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in modules):
            close = nearest(pattern, [*modules])
            some = ", ".join([*modules][:8])
            problems.append(Problem("layers", f"{pattern!r} names no module with parameters", some, close))
    found = {n: m for n, m in modules.items() if any(fnmatchcase(n, pattern) for pattern in patterns)}
    if metrics != WITHOUT_HOOKS:
        problems += [_scripted(n) for n, m in found.items() if isinstance(m, torch.jit.ScriptModule)]
    return found


def _scripted(name: str) -> Problem:
    hint = "give the module as it was before torch.jit.script, or record with metrics='gradients'"
    return Problem("model", f"{name} is scripted, and a scripted module takes no hooks", hint=hint)


def optimizers_of(given: Optimizer | Iterable[Optimizer] | None) -> list[Optimizer]:
    """The torch optimisers given; what merely keeps one in `.optimizer` stands for it."""
    if given is None:
        return []
    found = []
    for each in given if isinstance(given, Iterable) else [given]:
        # accelerate's is an Optimizer by name, which was never initialised and takes no hooks
        whole = isinstance(each, Optimizer) and hasattr(each, "_optimizer_step_post_hooks")
        inner = each if whole else getattr(each, "optimizer", None)
        if not isinstance(inner, Optimizer):
            raise ConfigError(
                Problem("optimizer", f"{type(each).__name__} is no torch.optim.Optimizer", "an optimiser")
            )
        found.append(inner)
    return found


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def scales(
    scaler: torch.amp.GradScaler | None, optimizers: list[Optimizer]
) -> tuple[Tensor | None, Tensor | None]:
    """What the deltas and what the parameter gradients must be divided by.

    The backward pass ran on the scaled loss, so deltas always carry the scale; the parameter gradients no longer do
    after `scaler.unscale_`. The scale stays on its device: `get_scale` would wait for it.
    """
    if scaler is None or not scaler.is_enabled() or scaler._scale is None:
        return None, None
    if not optimizers:
        hint = "recorder.step(optimizer=..., scaler=...)"
        raise ConfigError(
            Problem("optimizer", "a scaler needs the optimizer whose gradients it scales", hint=hint)
        )
    stages = {scaler._per_optimizer_states[id(optimizer)]["stage"].name for optimizer in optimizers}
    if "STEPPED" in stages:
        hint = "call recorder.step before scaler.step"
        raise ConfigError(Problem("scaler", "the optimizer has made its step already", hint=hint))
    if len(stages) > 1:
        raise ConfigError(
            Problem("scaler", "unscale_ was called for some of the optimizers only", "all or none")
        )
    return scaler._scale, None if stages == {"UNSCALED"} else scaler._scale
