"""The keys of a configuration as keywords of `gradlab.run` and `gradlab.compare`, for editors and type checkers.

Python has no way to read these off the models before a program runs. A test holds both together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict, TypeVar

from gradlab.config.keys import KEYS

Function = TypeVar("Function", bound=Callable[..., Any])


class Fixed(TypedDict, total=False):
    """The keys that have one value, in a comparison too."""

    target: str
    task: Literal["auto", "classification", "regression", "multilabel"]
    csv: str
    record: str
    probe: str | int
    eval_rows: str | int
    metrics: str
    histograms: bool
    jacobian: bool
    sharpness: bool
    seeds: int
    first_seed: int
    dtype: Literal["float32", "float64", "bfloat16"]
    device: Literal["auto", "cpu", "cuda", "mps"]
    out: str
    force: bool
    tables: Literal["csv", "parquet", "both"]
    workers: int | None
    executor: Literal["local", "ray"]
    ray_address: str
    gpus_per_stack: float
    on_error: Literal["continue", "stop"]
    checkpoint: float
    save_weights: bool


class Settings(Fixed, total=False):
    """One cell."""

    activation: str
    depth: int
    width: int
    init: str
    norm: str
    residual: str
    data: str
    optimizer: str
    lr: float
    schedule: str
    momentum: float | None
    weight_decay: float
    clip: float
    loss: str
    batch_size: int
    steps: int
    stack_size: int


class GridSettings(Fixed, total=False):
    """Of these keys a list makes a grid."""

    activation: str | Sequence[str]
    depth: int | Sequence[int]
    width: int | Sequence[int]
    init: str | Sequence[str]
    norm: str | Sequence[str]
    residual: str | Sequence[str]
    data: str | Sequence[str]
    optimizer: str | Sequence[str]
    lr: float | Sequence[float]
    schedule: str | Sequence[str]
    momentum: float | Sequence[float] | None
    weight_decay: float | Sequence[float]
    clip: float | Sequence[float]
    loss: str | Sequence[str]
    batch_size: int | Sequence[int]
    steps: int | Sequence[int]
    stack_size: int | Sequence[int]


def with_keywords(function: Function) -> Function:
    """The function with each key among its parameters and in its documentation: a notebook completes and shows them."""
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    keys = [
        inspect.Parameter(key.flag, inspect.Parameter.KEYWORD_ONLY, default=key.default)
        for key in KEYS.values()
    ]
    function.__signature__ = signature.replace(parameters=[*own, *keys])  # type: ignore[attr-defined]
    meanings = "\n".join(f"    {key.flag}: {key.meaning} ({key.default!r})" for key in KEYS.values())
    function.__doc__ = f"{function.__doc__}\n    Settings and their defaults:\n\n{meanings}\n"
    return function
