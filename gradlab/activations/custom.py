"""A user's own activation, `package.module:Attr`: an nn.Module class or a function of a tensor.

Its NumPy face (phi and phi' for the theory) runs the user's code in float64 through torch; its kinks are unknown,
so the theory integrates it adaptively.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradlab.activations.spec import Activation, Array
from gradlab.base.grammar import Item
from gradlab.base.own import load_own, users_code


def load_custom(item: Item, where: str) -> Activation:
    """Import the attribute (the working directory counts as on the path) and describe it as an Activation.

    Raises ConfigError when the module cannot be imported, has no such attribute, or the attribute is not a module
    class or function that maps a float tensor to a tensor of the same shape.
    """
    import torch
    from torch import nn

    from gradlab.activations.modules import Elementwise, PerReplica, try_call
    from gradlab.base import generators

    own = load_own(item, where)

    def make(seed: int = 0) -> Callable[[Any], Any]:
        attribute, arguments = own.attribute, own.arguments
        if (
            isinstance(attribute, nn.Module) and not arguments
        ):  # built already: its parameters are each net's own
            return copy.deepcopy(attribute)
        if not (inspect.isclass(attribute) and issubclass(attribute, nn.Module)):
            return (lambda z: attribute(z, **arguments)) if arguments else attribute
        with generators.seeded(seed, "cpu"), own.running():  # a user's initial draws
            module: nn.Module = attribute(**arguments)
            return module

    function = make()
    stateful = isinstance(function, nn.Module) and bool(
        list(function.parameters()) or list(function.buffers())
    )
    sample = torch.linspace(-3, 3, 24).reshape(4, 6)
    with generators.seeded(0, "cpu"):  # it may draw: nobody else's numbers depend on it
        call, image = try_call(own, function, sample)
        with torch.no_grad():
            alone = torch.stack([call(function, z.reshape(1, 1)).reshape(()) for z in sample.reshape(-1)])
    elementwise = bool(torch.allclose(alone, image.reshape(-1), rtol=1e-4, atol=1e-5, equal_nan=True))

    def phi(z: Array) -> Array:
        with own.running(), torch.no_grad():
            image: Array = _in_double(function)(torch.tensor(np.atleast_1d(z))).numpy()
            return image.reshape(np.shape(z))

    def slope(z: Array) -> Array:
        x = torch.tensor(np.atleast_1d(z)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(_in_double(function)(x.clone()).sum(), x)
        result: Array = gradient.numpy()
        return result.reshape(np.shape(z))

    def guarded_slope(z: Array) -> Array:
        with own.running():
            return slope(z)

    def build(replicas: int, width: int, seeds: tuple[int, ...]) -> nn.Module:
        made = [make(seed) for seed in seeds]
        return PerReplica([f if isinstance(f, nn.Module) else Elementwise(f) for f in made], call)

    shared = elementwise and not stateful
    steepest = None
    if elementwise:
        with users_code(where, f"{own.text} has no derivative"):
            slopes = np.abs(slope(np.linspace(-20, 20, 40001)))
        if np.isnan(slopes).all():
            raise own.refused(
                "has a slope that is no number everywhere in [-20, 20]", "a function with a derivative"
            )
        steepest = float(np.nanmax(slopes))
    return Activation(
        text=own.text,
        name=own.name,
        family="other",
        summary="a user's own activation",
        parameters=dict(item.given),
        phi=phi if elementwise else None,
        slope=guarded_slope if elementwise else None,
        slope_sup=steepest,
        kinks_known=False,
        kernel=(lambda: partial(call, function)) if shared else None,
        build=None if shared else build,
        own=own,
    )


def _in_double(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function itself, or a copy of the module in float64: the user's instance keeps its own dtype."""
    import torch

    return copy.deepcopy(function).double() if isinstance(function, torch.nn.Module) else function
