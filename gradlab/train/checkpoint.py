"""A training in progress on disk: all it takes to go on as if it had never stopped, and the weights it ends with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import perf_counter
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gradlab.base import atomic, blas
from gradlab.base.errors import Unstorable
from gradlab.base.user_file import open_file
from gradlab.config.plan import RECIPE, Stack
from gradlab.nn.mlp import StackedMLP


class State(NamedTuple):
    """Where something is that can go on: tensors and arrays by name, and what JSON can say."""

    tensors: Mapping[str, Tensor]
    arrays: Mapping[str, Any]
    facts: Mapping[str, Any]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix/`, by what follows."""
        return _under(self.tensors, prefix)

    def arrays_under(self, prefix: str) -> dict[str, Any]:
        return _under(self.arrays, prefix)


class Resumable(Protocol):
    """What a checkpoint keeps."""

    def state(self) -> State: ...

    def load_state(self, state: State) -> None: ...


@dataclass
class Checkpoint:
    """Where a stack's training is kept while it runs, and how often.

    path: the file; seconds: between two writes of it
    say:  told when the file cannot be used or written: the training goes on without
    """

    path: Path
    seconds: float
    say: Callable[[str], None] = lambda text: None
    _due: float = field(default=0.0, init=False)

    def resume(self, training: Resumable, stack: Stack) -> int:
        """Put a fresh training where the file left off; the step to go on with, 0 when there is no usable file."""
        self._due = perf_counter() + self.seconds
        if not self.path.exists():
            return 0
        try:
            with open_file(self.path, inf) as stream, np.load(stream, allow_pickle=False) as archive:
                facts = json.loads(str(archive["facts"]))
                if facts["stack"] != _identity(stack):
                    raise ValueError("it belongs to another stack or version")
                if not 0 < facts["step"] <= stack.cell.training.steps:
                    raise ValueError("it is of another step than this training has")
                arrays = {name: archive[name] for name in archive.files if name != "facts"}
        except Exception as error:  # NumPy and zipfile raise a dozen kinds over bytes they did not write
            self.say(f"{self.path} is not used, its stack starts again: {error}")
            return 0
        tensors = {
            name: _to_torch(array, facts["formats"].get(name))
            for name, array in _under(arrays, "tensor").items()
        }
        training.load_state(State(tensors, _under(arrays, "array"), facts["training"]))
        return int(facts["step"])

    def keep(self, training: Resumable, stack: Stack, step: int) -> None:
        """Write the file when it is time; `step` is the one to go on with."""
        if perf_counter() < self._due:
            return
        try:
            self.write(training, stack, step)
            self._due = perf_counter() + self.seconds
        except (OSError, Unstorable) as error:
            reason = getattr(error, "strerror", None) or error
            self.say(f"{self.path} cannot be written, training goes on without: {reason}")
            self._due = inf

    def write(self, training: Resumable, stack: Stack, step: int) -> None:
        """Write the file. Raises OSError, and Unstorable where the optimiser keeps more than tensors."""
        state = training.state()
        formats = {n: "bfloat16" for n, tensor in state.tensors.items() if tensor.dtype == torch.bfloat16}
        facts = {"stack": _identity(stack), "step": step, "formats": formats, "training": state.facts}
        arrays = {f"tensor/{name}": _to_numpy(tensor) for name, tensor in state.tensors.items()}
        arrays |= {f"array/{name}": array for name, array in state.arrays.items()}

        def fill(handle: IO[bytes]) -> None:
            np.savez(handle, facts=np.array(json.dumps(facts)), **arrays)

        atomic.write(self.path, fill)


def save_weights(path: Path, stack: Stack, mlp: StackedMLP) -> None:
    """The final weights as safetensors: every parameter and buffer under its module's name, [replica, ...]."""
    from safetensors.torch import save

    # One entry: the order of several is not fixed.
    about = {"gradlab": json.dumps({"cell": stack.cell.id, "seeds": stack.seeds})}
    tensors = {name: value.detach().cpu().contiguous() for name, value in mlp.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, lambda handle: handle.write(save(tensors, about)))


def _identity(stack: Stack) -> list[Any]:
    versions = [RECIPE, torch.__version__, blas.name()]
    return [*versions, stack.cell.id, list(stack.seeds), stack.recording.differing()]


def _under(named: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(f"{prefix}/"): value
        for name, value in named.items()
        if name.startswith(f"{prefix}/")
    }


def _to_numpy(tensor: Tensor) -> Any:
    """NumPy has no bfloat16: its bits are kept as whole numbers."""
    tensor = tensor.detach().cpu()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _to_torch(array: Any, format: str | None) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if format == "bfloat16" else tensor
