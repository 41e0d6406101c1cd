"""A training in progress on disk: all it takes to go on as if it had never stopped, and the weights it ends with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import perf_counter
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gradlab.base import atomic, blas
from gradlab.base.errors import Unstorable
from gradlab.config.plan import RECIPE, Stack

if TYPE_CHECKING:
    from gradlab.train.loop import Training


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

    def resume(self, training: Training) -> int:
        """Put a fresh training where the file left off; the step to go on with, 0 when there is no usable file."""
        self._due = perf_counter() + self.seconds
        if not self.path.exists():
            return 0
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                facts = json.loads(str(archive["facts"]))
                if facts["stack"] != _identity(training.stack):
                    raise ValueError("it belongs to another stack or version")
                if not 0 < facts["step"] <= training.training.steps:
                    raise ValueError("it is of another step than this training has")
                arrays = {name: archive[name] for name in archive.files if name != "facts"}
        except Exception as error:  # NumPy and zipfile raise a dozen kinds over bytes they did not write
            self.say(f"{self.path} is not used, its stack starts again: {error}")
            return 0
        _restore(training, arrays, facts)
        return int(facts["step"])

    def keep(self, training: Training, step: int) -> None:
        """Write the file when it is time; `step` is the one to go on with."""
        if perf_counter() < self._due:
            return
        try:
            self.write(training, step)
            self._due = perf_counter() + self.seconds
        except (OSError, Unstorable) as error:
            reason = getattr(error, "strerror", None) or error
            self.say(f"{self.path} cannot be written, training goes on without: {reason}")
            self._due = inf

    def write(self, training: Training, step: int) -> None:
        """Write the file. Raises OSError, and Unstorable where the optimiser keeps more than tensors."""
        training.flush()
        optimizer = training.optimizer.state()
        facts = {
            "stack": _identity(training.stack),
            "step": step,
            "steps": training.steps,
            "seconds": training.seconds,
            "counts": training.counts,
            "phases": training.phases.seconds,
            "optimizer": {
                name: str(tensor.dtype).removeprefix("torch.") for name, tensor in optimizer.items()
            },
        }
        arrays: dict[str, Any] = {name: _to_numpy(tensor) for name, tensor in _tensors(training)}
        arrays |= {f"optimizer/{name}": _to_numpy(tensor) for name, tensor in optimizer.items()}
        arrays |= {
            "layers": np.concatenate(training.layers) if training.layers else np.empty(0),
            "layer_applies": np.array(training.layer_applies),
            "scalars": np.concatenate(training.scalars),
            "input_sq": training.input_sq,
            "jacobians": np.array(training.jacobians),
            "histograms": np.array(training.histograms),
        }

        def fill(handle: IO[bytes]) -> None:
            np.savez(handle, facts=np.array(json.dumps(facts)), **arrays)

        atomic.write(self.path, fill)


def save_weights(path: Path, training: Training) -> None:
    """The final weights as safetensors: every parameter and buffer under its module's name, [replica, ...]."""
    from safetensors.torch import save

    stack = training.stack
    # One entry: the order of several is not fixed.
    about = {"gradlab": json.dumps({"cell": stack.cell.id, "seeds": stack.seeds})}
    tensors = {name: value.detach().cpu().contiguous() for name, value in training.mlp.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, lambda handle: handle.write(save(tensors, about)))


def _identity(stack: Stack) -> list[Any]:
    versions = [RECIPE, torch.__version__, blas.name()]
    return [*versions, stack.cell.id, list(stack.seeds), stack.recording.differing()]


def _tensors(training: Training) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a training's state but its records and the optimiser's, by name."""
    for name, tensor in training.mlp.state_dict().items():
        yield f"mlp/{name}", tensor
    for replica, generator in enumerate(training.stream.generators):
        yield f"stream/generator/{replica}", generator.get_state()
    yield "stream/left", training.stream.left
    if training.recorder and training.recorder.dead is not None:
        yield "recorder/dead", training.recorder.dead
    yield "random", torch.get_rng_state()
    if training.x_train.is_cuda:
        yield "random_cuda", torch.cuda.get_rng_state()


def _restore(training: Training, arrays: dict[str, Any], facts: dict[str, Any]) -> None:
    device = training.x_train.device
    state = training.mlp.state_dict()
    training.mlp.load_state_dict(
        {name: _to_torch(arrays[f"mlp/{name}"], value.dtype) for name, value in state.items()}
    )
    training.optimizer.load_state(
        {
            name: _to_torch(arrays[f"optimizer/{name}"], getattr(torch, dtype))
            for name, dtype in facts["optimizer"].items()
        }
    )
    for replica, generator in enumerate(training.stream.generators):
        generator.set_state(torch.from_numpy(arrays[f"stream/generator/{replica}"]))
    training.stream.left = torch.from_numpy(arrays["stream/left"])
    if training.recorder:
        if "recorder/dead" in arrays:
            training.recorder.dead = torch.from_numpy(arrays["recorder/dead"]).to(device)
        training.layers = [arrays["layers"]] if len(arrays["layers"]) else []
        training.layer_applies = list(arrays["layer_applies"])
    torch.set_rng_state(torch.from_numpy(arrays["random"]))
    if device.type == "cuda":
        torch.cuda.set_rng_state(torch.from_numpy(arrays["random_cuda"]))
    training.scalars = [arrays["scalars"]]
    training.input_sq = arrays["input_sq"]
    training.jacobians = list(arrays["jacobians"])
    training.histograms = list(arrays["histograms"])
    training.steps = list(facts["steps"])
    training.seconds, training.counts = facts["seconds"], facts["counts"]
    training.phases.seconds = facts["phases"]


def _to_numpy(tensor: Tensor) -> Any:
    tensor = tensor.detach().cpu()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _to_torch(array: Any, dtype: torch.dtype) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == torch.bfloat16 and array.dtype == np.int16 else tensor
