"""What a module's output is made of: which axis its units are on, which parameters are its own, its fans.

A unit is a feature (the last axis) of a linear map, an embedding, a recurrent layer, attention or a layer norm,
and a channel of a convolution, batch norm, instance norm or group norm. A module of another kind has its units on
the last axis, or on axis 1 (channels) where its output has four axes or more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.rnn import PackedSequence

from gradlab.activations.modules import PerReplica, StackedPReLU
from gradlab.nn.mlp import StackedLinear

FEATURES_LAST = (nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.LayerNorm, nn.RMSNorm,
                 nn.MultiheadAttention)  # fmt: skip
LEARNED_ACTIVATIONS = (nn.PReLU, StackedPReLU)


def unit_axis(module: nn.Module, z: Tensor) -> int:
    """The axis of the units in the output z of `module`."""
    if isinstance(module, _ConvNd):
        return z.dim() - 1 - len(module.kernel_size)  # also right without a batch axis
    if isinstance(module, _NormBase | nn.GroupNorm):
        return min(1, z.dim() - 1)
    if isinstance(module, FEATURES_LAST) or z.dim() < 4:
        return z.dim() - 1
    return 1


def axis_in_view(x: Tensor, units: int, stride: int) -> int | None:
    """The axis of x, a view of a module's output, that runs over its units, so many of them and so far apart in memory;
    None where none does (flattened away) or more than one might."""
    there = [axis for axis, size in enumerate(x.shape) if size == units and x.stride(axis) == stride]
    return there[0] if len(there) == 1 else None


def tensors(value: object) -> list[Tensor]:
    """The floating tensors in what a module returned, in order: a tensor, or tuples, dicts, dataclasses of them.

    Sparse and nested ones are left out: their entries are no [batch, unit].
    """
    if isinstance(value, Tensor):
        numbers = value.is_floating_point() or value.is_complex()
        return [value] if numbers and value.layout == torch.strided and not value.is_nested else []
    parts: list[object] = []
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, tuple | list):
        parts = list(value)
    elif is_dataclass(value):
        parts = [getattr(value, field.name, None) for field in fields(value)]
    return [tensor for part in parts for tensor in tensors(part)]


def batch_size(values: object, batch_dim: int) -> int | None:
    """Length along `batch_dim` of the first tensor in a module's arguments that has that axis."""
    if isinstance(values, PackedSequence):
        return int(values.batch_sizes[0])  # of its first step, on the CPU wherever the data are
    if isinstance(values, Tensor):
        return values.shape[batch_dim] if values.dim() > batch_dim else None
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, tuple | list):
        return next((n for part in values if (n := batch_size(part, batch_dim)) is not None), None)
    return None


def every_module(model: nn.Module) -> tuple[dict[str, nn.Module], frozenset[str]]:
    """The model's modules by path, as `named_modules` gives them, then those it does not know because they stand in
    a plain list, tuple or dict of a module (`layers[0]`); and the paths of the former."""
    found = dict(model.named_modules())
    registered = frozenset(found)
    seen = {id(module) for module in found.values()}
    todo = list(found.items())
    for path, module in todo:  # which grows
        for name, value in vars(module).items():
            for place, each in _in_containers(f"{path}.{name}" if path else name, value):
                for inner, part in each.named_modules(prefix=place):
                    if id(part) not in seen:
                        seen.add(id(part))
                        found[inner] = part
                        todo.append((inner, part))
    return found, registered


def _in_containers(place: str, value: object) -> Iterator[tuple[str, nn.Module]]:
    """The modules in a list, tuple or dict, at any depth, each with where it stands."""
    todo: list[tuple[str, object]] = [(place, value)]
    seen: set[int] = set()
    for place, value in todo:  # which grows
        if type(value) not in (list, tuple, dict) or id(value) in seen:
            continue
        seen.add(id(value))
        members = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
        for key, each in members:
            if isinstance(each, nn.Module):
                yield _inside(place, key), each
            elif isinstance(each, list | tuple | dict):
                todo.append((_inside(place, key), each))


def _inside(place: str, key: object) -> str:
    return f"{place}[{key if isinstance(key, int) else repr(str(key))}]"


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The module's own parameters by name, those behind torch's parametrizations (weight norm ...) included."""
    if isinstance(module, (*LEARNED_ACTIVATIONS, PerReplica, ParametrizationList)):
        return {}
    own = dict(module.named_parameters(recurse=False))
    behind = getattr(module, "parametrizations", None)
    return own | (dict(behind.named_parameters()) if isinstance(behind, nn.ModuleDict) else {})


def is_bias(name: str) -> bool:
    """Whether a parameter of this name is added, not multiplied."""
    return "bias" in name.split(".")[0] or name == "shift"


def fans(module: nn.Module) -> tuple[int, int] | None:
    """Inputs and outputs of the module's linear map, as torch's initialisers count them; None where it has none."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, StackedLinear):
        return module.weight.shape[1], module.weight.shape[2]
    if isinstance(module, nn.Bilinear):
        return module.in1_features * module.in2_features, module.out_features
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return module.num_embeddings, module.embedding_dim
    if isinstance(module, nn.RNNBase):
        return module.input_size, module.hidden_size
    if isinstance(module, nn.MultiheadAttention):
        return module.embed_dim, module.embed_dim
    if isinstance(module, _ConvNd):
        # not from the weight: a parametrised one (spectral norm) is computed, and changes, whenever it is looked at
        taps, groups = prod(module.kernel_size), module.groups
        if isinstance(module, _ConvTransposeNd):  # the weight is [in, out / groups, taps]
            return module.in_channels * taps, module.out_channels // groups * taps
        return module.in_channels // groups * taps, module.out_channels * taps
    return None


def call(model: nn.Module, inputs: Any) -> Any:
    """What the model returns for its inputs: a tensor, a tuple of positional or a dict of named arguments."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def real(x: Tensor) -> Tensor:
    """x itself, a complex tensor as its absolute values: what norms and counts are taken of."""
    return x.abs() if x.is_complex() else x


def dense_values(gradient: Tensor) -> Tensor:
    """The entries of a gradient that are stored: all of a dense one, the summed rows of a sparse one. Formats of one
    byte, which torch does not compute in, come as float32."""
    stored = gradient.coalesce().values() if gradient.layout == torch.sparse_coo else gradient
    return stored.float() if stored.is_floating_point() and stored.itemsize == 1 else stored
