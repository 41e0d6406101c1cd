"""What the user names on the command line, `package.module:Attr`: a model, and where its batches come from."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gradlab.base.errors import ConfigError, Problem
from gradlab.base.grammar import parse_item
from gradlab.base.own import Own, load_own, users_code
from gradlab.data import Dataset
from gradlab.parts.losses import Loss

Batch = tuple[Any, Tensor]
KNOWN_SIZES = ("features", "classes", "outputs")


def named(text: str, where: str) -> Own:
    """Import it; the working directory counts as on the path. Raises ConfigError naming `where`."""
    item = parse_item(text, where)
    if item.attribute is None or item.given:
        raise ConfigError(Problem(where, f"{text!r} is no package.module:Attr", "such as mymodels:make_net"))
    return load_own(item, where)


def make_model(model: Own, sizes: dict[str, int], where: str = "MODEL") -> nn.Module:
    """A new model: the module itself copied, or what its class or function makes.

    sizes: of the data (`sizes_of`), given to a function that has parameters of these names.
    Raises ConfigError when it fails or makes something else.
    """
    with users_code(where, f"{model.text} failed"):
        if isinstance(model.attribute, nn.Module):
            return _with_weights(copy.deepcopy(model.attribute), model, where)
        parameters = inspect.signature(model.attribute).parameters
        asked = parameters.get("classes")
        if sizes and "classes" not in sizes and asked and asked.default is inspect.Parameter.empty:
            message = f"{model.text} asks for the number of classes, and the targets are none"
            raise ConfigError(Problem(where, message, "a function of features and outputs"))
        made = model.attribute(
            **{name: sizes[name] for name in KNOWN_SIZES if name in parameters and name in sizes}
        )
    if not isinstance(made, nn.Module):
        raise ConfigError(
            Problem(where, f"{model.text} gave {type(made).__name__}", "a torch.nn.Module, or what makes one")
        )
    return _with_weights(made, model, where)


def _with_weights(made: nn.Module, model: Own, where: str) -> nn.Module:
    """The model; raises ConfigError where its parameters have no numbers."""
    if empty := [name for name, parameter in made.named_parameters() if parameter.is_meta]:
        message = f"{model.text} gave parameters without numbers, on the meta device: {', '.join(empty[:3])}"
        raise ConfigError(Problem(where, message, "a model with weights", "its to_empty and an initialiser"))
    return made


def sizes_of(dataset: Dataset, loss: Loss) -> dict[str, int]:
    """What a model is made for: the features, the outputs (one for each class, number or label; one for two classes
    where the loss takes them so), and the classes where there are any."""
    sizes = {"features": dataset.features, "outputs": loss.outputs(dataset)}
    return sizes | ({"classes": dataset.classes} if dataset.classes else {})


def batches_of(source: Own, seed: int, where: str = "--batches") -> Iterator[Batch]:
    """The user's batches, endlessly: what the function gives is started again whenever it ends.

    The function is called without arguments, or with `seed` if it has a parameter of that name. Raises ConfigError
    when it fails, gives nothing, or gives something else than (inputs, targets) pairs.
    """
    served = 0
    while True:
        count = 0
        for batch in one_pass(source, seed, where):
            count += 1
            yield batch
        if not count:
            after = f" when it was called again, after {served} batches" if served else ""
            hint = "it must start anew in every call" if served else None
            raise ConfigError(Problem(where, f"{source.text} gave no batch{after}", hint=hint))
        served += count


def one_pass(source: Own, seed: int, where: str = "--batches") -> Iterator[Batch]:
    """The user's batches from one call of the function. Raises ConfigError as `batches_of` does."""
    found = _started(source, seed, where)
    while (batch := _next(found, source, where)) is not None:
        if not isinstance(batch, tuple | list) or len(batch) != 2 or not isinstance(batch[1], Tensor):
            what = f"{source.text} gave {type(batch).__name__}"
            raise ConfigError(Problem(where, what, "pairs (inputs, targets), the targets a tensor"))
        if any(tensor.is_meta for tensor in batch if isinstance(tensor, Tensor)):
            message = f"{source.text} gave tensors on the meta device, which hold no numbers"
            raise ConfigError(Problem(where, message, "tensors with numbers"))
        yield batch[0], batch[1]


def _started(source: Own, seed: int, where: str) -> Iterator[Any]:
    make: Callable[..., Iterable[Any]] = source.attribute
    with users_code(where, f"{source.text} failed"):
        arguments = {"seed": seed} if "seed" in inspect.signature(make).parameters else {}
        return iter(make(**arguments))


def _next(found: Iterator[Any], source: Own, where: str) -> Any:
    """The next batch, None at the end."""
    with users_code(where, f"{source.text} failed"):  # a generator runs the user's code now
        return next(found, None)


def moved(value: Any, device: str, dtype: torch.dtype) -> Any:
    """Tensors in `value` (a tensor, a tuple, a list, a dict) on the device, floating ones in the number format."""
    if isinstance(value, Tensor):
        return value.to(device, dtype) if value.is_floating_point() else value.to(device)
    if isinstance(value, dict):
        return {key: moved(part, device, dtype) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return tuple(moved(part, device, dtype) for part in value)
    return value
