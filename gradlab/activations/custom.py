"""A user's own activation, `package.module:Attr`: an nn.Module class or a function of a tensor.

Its NumPy face (phi and phi' for the theory) runs the user's code in float64 through torch; its kinks are unknown,
so the theory integrates it adaptively.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.activations.spec import Activation, Array
from gradlab.base.errors import ConfigError, Problem
from gradlab.base.grammar import Item
from gradlab.base.own import load_own, users_code


def load_custom(item: Item, where: str) -> Activation:
    """Import the attribute (the working directory counts as on the path) and describe it as an Activation.

    Raises ConfigError when the module cannot be imported, has no such attribute, or the attribute is not a module
    class or function that maps a float tensor to a tensor of the same shape.
    """
    import torch
    from torch import nn

    from gradlab.activations.modules import PerReplica
    from gradlab.base import generators

    own = load_own(item, where)
    attribute, text, arguments = own.attribute, own.text, own.arguments

    def make(seed: int = 0) -> Callable[[Any], Any]:
        if not (inspect.isclass(attribute) and issubclass(attribute, nn.Module)):
            return (lambda z: attribute(z, **arguments)) if arguments else attribute
        with generators.seeded(seed, "cpu"):  # a user's initial draws
            module: nn.Module = attribute(**arguments)
            return module

    with users_code(where, f"{text} failed on a [4, 6] tensor"):
        function = make()
        stateful = isinstance(function, nn.Module) and bool(
            list(function.parameters()) or list(function.buffers())
        )
        sample = torch.linspace(-3, 3, 24).reshape(4, 6)
        with torch.no_grad():
            image = function(given := sample.clone())
    if not isinstance(image, torch.Tensor) or image.shape != sample.shape:
        raise ConfigError(
            Problem(
                where, f"{text} does not map a tensor to one of the same shape", "an nn.Module or a function"
            )
        )
    in_place = not torch.equal(given, sample)
    with torch.no_grad():
        alone = torch.stack([function(z.reshape(1, 1)).reshape(()) for z in sample.clone().reshape(-1)])
    elementwise = bool(torch.allclose(alone, image.reshape(-1), rtol=1e-4, atol=1e-5, equal_nan=True))

    def phi(z: Array) -> Array:
        with torch.no_grad():
            image: Array = _in_double(function)(torch.tensor(np.atleast_1d(z))).numpy()
            return image.reshape(np.shape(z))

    def slope(z: Array) -> Array:
        x = torch.tensor(np.atleast_1d(z)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(_in_double(function)(x.clone()).sum(), x)
        result: Array = gradient.numpy()
        return result.reshape(np.shape(z))

    def build(replicas: int, width: int, seeds: tuple[int, ...]) -> nn.Module:
        made = [make(seed) for seed in seeds]
        instances = [f if isinstance(f, nn.Module) and not in_place else _Call(f) for f in made]
        return PerReplica(instances)

    class _Call(nn.Module):
        def __init__(self, function: Callable[[Any], Any]) -> None:
            super().__init__()
            self.function = function

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            # an in-place activation gets a copy: z may be the residual stream as well
            result: torch.Tensor = self.function(z.clone() if in_place else z)
            return result

    shared = elementwise and not stateful
    steepest = None
    if elementwise:
        with users_code(where, f"{text} has no derivative"):
            slopes = np.abs(slope(np.linspace(-20, 20, 40001)))
        if np.isnan(slopes).all():
            raise ConfigError(Problem(where, f"{text} has a slope that is no number everywhere in [-20, 20]"))
        steepest = float(np.nanmax(slopes))
    return Activation(
        text=text,
        name=own.name,
        family="other",
        summary="a user's own activation",
        parameters=dict(item.given),
        phi=phi if elementwise else None,
        slope=slope if elementwise else None,
        slope_sup=steepest,
        kinks_known=False,
        kernel=(lambda: _Call(function) if in_place else function) if shared else None,
        build=None if shared else build,
        source=own.source,
    )


def _in_double(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function itself, or a copy of the module in float64: the user's instance keeps its own dtype."""
    import copy

    import torch

    return copy.deepcopy(function).double() if isinstance(function, torch.nn.Module) else function
