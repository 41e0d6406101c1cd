"""Normalisation of a hidden layer, for every replica of a stack: `--norm none|batch|layer|rms`, or a user's own.

Free of torch at import. z and what comes back are [replica, batch, unit]; what is learned is [replica, 1, unit].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gradlab.base.grammar import Item, Parameter, parse_item
from gradlab.base.own import Own, load_own
from gradlab.base.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gradlab.theory.normed import Kind

POSITION = {
    "position": Parameter(default="pre", choices=("pre", "post"), meaning="before or after the activation")
}
EPS = {"eps": Parameter(default=1e-5, low=0, open_low=True, meaning="added to the variance")}
SHIFT_AND_SCALE = {"scale": 1.0, "shift": 0.0}


class State(Protocol):
    """What a norm has of its own: tensors by the names that its definition declares, and torch's mode."""

    training: bool

    def __getattr__(self, name: str) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One registered normalisation.

    compute:    compute(z, state, parameters) -> normalised z; None for no normalisation
    learned:    the numbers it learns for each unit, and where they start; running: those it keeps by itself
    over_batch: whether the samples of a batch depend on each other: it takes two or more, and another path in eval mode
    theory:     what `gradlab.theory` calls it; None where it makes no prediction
    """

    summary: str
    compute: Callable[[Tensor, State, Mapping[str, float]], Tensor] | None
    learned: Mapping[str, float] = field(default_factory=dict)
    running: Mapping[str, float] = field(default_factory=dict)
    over_batch: bool = False
    theory: Kind | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A normalisation with its parameters; `position` is "pre" (before phi) or "post".

    build: build(replicas, width, seeds) -> the module of a user's own; own: what the user named
    """

    text: str
    name: str
    definition: Definition
    position: str = "pre"
    values: Mapping[str, float] = field(default_factory=dict)
    build: Callable[[int, int, tuple[int, ...]], nn.Module] | None = None
    own: Own | None = None

    @property
    def none(self) -> bool:
        """Whether a layer goes without."""
        return self.definition.compute is None and self.build is None

    @property
    def over_batch(self) -> bool:
        return self.definition.over_batch

    @property
    def theory(self) -> Kind | None:
        return self.definition.theory

    @property
    def eps(self) -> float:
        return self.values.get("eps", 0.0)


def _batch(z: Tensor, state: State, parameters: Mapping[str, float]) -> Tensor:
    """Each replica by itself (Ioffe & Szegedy 2015, algorithm 1).

    Training mode uses the batch's mean and biased variance and moves the running ones by `momentum` (the running
    variance is the unbiased one, as in torch); eval mode uses the running ones, which start at 0 and 1.
    """
    import torch

    if state.training:
        var, mean = torch.var_mean(z, dim=1, keepdim=True, correction=0)
        with torch.no_grad():
            batch, momentum = z.shape[1], parameters["momentum"]
            state.running_mean.lerp_(mean, momentum)
            state.running_var.lerp_(var * (batch / max(batch - 1, 1)), momentum)
    else:
        mean, var = state.running_mean, state.running_var
    return (z - mean) * torch.rsqrt(var + parameters["eps"]) * state.scale + state.shift


def _layer(z: Tensor, state: State, parameters: Mapping[str, float]) -> Tensor:
    """Over the units of each sample (Ba, Kiros & Hinton 2016, eq. 4)."""
    import torch

    var, mean = torch.var_mean(z, dim=-1, keepdim=True, correction=0)
    return (z - mean) * torch.rsqrt(var + parameters["eps"]) * state.scale + state.shift


def _rms(z: Tensor, state: State, parameters: Mapping[str, float]) -> Tensor:
    """By the root mean square over the units of each sample (Zhang & Sennrich 2019, eq. 4)."""
    import torch

    return z * torch.rsqrt(z.square().mean(dim=-1, keepdim=True) + parameters["eps"]) * state.scale


NORMS = Registry(
    "norm",
    {
        "none": Definition(summary="no normalisation", compute=None, theory="none"),
        "batch": Definition(
            summary="each unit over the batch, running statistics in eval mode (Ioffe & Szegedy 2015)",
            compute=_batch,
            learned=SHIFT_AND_SCALE,
            running={"running_mean": 0.0, "running_var": 1.0},
            over_batch=True,
            theory="batch",
            parameters={
                **POSITION,
                **EPS,
                "momentum": Parameter(
                    default=0.1, low=0, high=1, meaning="weight of a new batch's statistics"
                ),
            },
        ),
        "layer": Definition(
            summary="each sample over the units, mean and variance (Ba, Kiros & Hinton 2016)",
            compute=_layer,
            learned=SHIFT_AND_SCALE,
            theory="layer",
            parameters={**POSITION, **EPS},
        ),
        "rms": Definition(
            summary="each sample over the units, root mean square alone (Zhang & Sennrich 2019)",
            compute=_rms,
            learned={"scale": 1.0},
            theory="rms",
            parameters={**POSITION, **EPS},
        ),
    },
    own=True,
)


def get(text: str, where: str = "norm", *, sample: tuple[int, int] | None = None) -> Norm:
    """The normalisation written as `text`.

    sample: (samples, units) on which a user's own is tried; without, only a registered one is allowed. Raises
    ConfigError naming `where`.
    """
    item = parse_item(text, where)
    if sample is not None and item.attribute is not None:
        return _users(item, sample, where)
    chosen = NORMS.choose(item, where)
    return Norm(
        text=chosen.text,
        name=chosen.name,
        definition=chosen.entry,
        position=str(chosen.values.get("position", "pre")),
        values={name: float(value) for name, value in chosen.values.items() if name not in POSITION},
    )


def _users(item: Item, sample: tuple[int, int], where: str) -> Norm:
    """A class of modules, made with a width and called on [batch, unit]; one instance for each replica."""
    import torch

    from gradlab.activations.modules import PerReplica, UsersCall, try_call
    from gradlab.base import generators

    own = load_own(item, where, POSITION)

    def make(width: int, seed: int) -> nn.Module:
        with generators.seeded(seed, "cpu"), own.running():  # a user's initial draws
            module = own.attribute(width, **own.arguments)
        if not isinstance(module, torch.nn.Module):
            raise own.refused(
                f"gave {type(module).__name__}", "a torch.nn.Module, made with the layer's width"
            )
        return module

    batch, width = sample
    module = make(width, 0)
    with generators.seeded(0, "cpu"):
        z = torch.randn(batch, width)
        calls = [try_call(own, module.train(mode), z)[0] for mode in (True, False)]
    call = UsersCall(own, spare=any(each.spare for each in calls))

    def build(replicas: int, width: int, seeds: tuple[int, ...]) -> nn.Module:
        return PerReplica([make(width, seed) for seed in seeds], call)

    return Norm(
        text=own.text,
        name=own.name,
        definition=Definition(summary="a user's own normalisation", compute=None),
        position=str(own.settings["position"]),
        build=build,
        own=own,
    )
