"""Which function makes a model's outputs, and which loss function its criterion calls with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

from gradlab.recorder.torch_activations import FUNCTIONS, shape_of

LOSSES = {
    getattr(F, name): name
    for name in (
        "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss",
        "smooth_l1_loss", "huber_loss", "kl_div", "poisson_nll_loss", "gaussian_nll_loss", "multi_margin_loss",
        "multilabel_margin_loss", "multilabel_soft_margin_loss", "soft_margin_loss", "hinge_embedding_loss",
        "cosine_embedding_loss", "margin_ranking_loss", "triplet_margin_loss", "ctc_loss",
    )
}  # fmt: skip
"""Torch's loss functions, which its modules call too."""

ALONG_AN_AXIS = {
    face: name
    for name in ("softmax", "log_softmax", "softmin")
    for home in (torch, Tensor, F)
    if (face := getattr(home, name, None)) is not None
}
OTHERS = {torch.exp: "exp", Tensor.exp: "exp", torch.log: "log", Tensor.log: "log"}


SHARES = frozenset({"softmax", "softmin", "sigmoid"})
"""Functions whose outputs are shares: a softmax of those makes them nearly equal."""

COPIES = frozenset({Tensor.clone, torch.clone, Tensor.contiguous, Tensor.to, Tensor.float, Tensor.double})
"""What gives the same numbers in other memory."""


class CallWatch(TorchFunctionMode):
    """While it is on, the functions are noted that made a tensor's content, and the loss functions called.

    criteria: their names; taken, against: the two tensors that the first one was given
    """

    def __init__(self) -> None:
        super().__init__()
        self.criteria: list[str] = []
        self.taken: Tensor | None = None
        self.against: Tensor | None = None
        # by the memory of what was made: a view of it is still that function's; the weak reference keeps the address
        self._made: dict[int, tuple[StorageWeakRef, str, int | None]] = {}
        self._across: set[int] = set()  # of those, what runs along the samples
        self._copied: dict[int, tuple[StorageWeakRef, Tensor]] = {}

    def original(self, tensor: Tensor) -> Tensor:
        """What a tensor is a copy of, of a copy or of several; itself where it is none."""
        while tensor.layout == torch.strided and tensor.untyped_storage()._cdata in self._copied:
            tensor = self._copied[tensor.untyped_storage()._cdata][1]
        return tensor

    def maker(self, tensor: Tensor) -> tuple[str, int | None]:
        """The function that made a tensor, "" for a plain map, and the size of the axis that a softmax runs along. A
        second one behind shares is told with the first: `softmax, log_softmax`."""
        if tensor.layout != torch.strided:
            return "", None
        _, name, size = self._made.get(tensor.untyped_storage()._cdata, (None, "", None))
        return name, size

    def across_samples(self, tensor: Tensor) -> bool:
        """Whether a softmax made it that runs along the first of several axes, which counts samples."""
        return tensor.layout == torch.strided and tensor.untyped_storage()._cdata in self._across

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in LOSSES:
            if not self.criteria:
                given = [*args[:2], *(kwargs[name] for name in ("input", "target") if name in kwargs)]
                if len(given) > 1 and all(isinstance(each, Tensor) for each in given[:2]):
                    self.taken, self.against = given[:2]
            self.criteria.append(LOSSES[func])
        before = self.maker(args[0])[0] if args and isinstance(args[0], Tensor) else ""
        out = func(*args, **kwargs)
        if func in COPIES and args and out.layout == args[0].layout == torch.strided:
            memory = out.untyped_storage()
            if memory._cdata != args[0].untyped_storage()._cdata:
                self._copied[memory._cdata] = (StorageWeakRef(memory), args[0])  # type: ignore[no-untyped-call]
        if (name := _name(func, args, kwargs)) and isinstance(out, Tensor) and out.layout == torch.strided:
            size = out.shape[_axis(args, kwargs)] if func in ALONG_AN_AXIS and out.dim() else None
            memory = out.untyped_storage()
            self._across.discard(memory._cdata)
            if func in ALONG_AN_AXIS:
                if before in SHARES:
                    name = f"{before}, {name}"
                if out.dim() > 1 and _axis(args, kwargs) % out.dim() == 0:
                    self._across.add(memory._cdata)
            self._made[memory._cdata] = (StorageWeakRef(memory), name, size)  # type: ignore[no-untyped-call]
        return out


def _name(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    if func in ALONG_AN_AXIS:
        return ALONG_AN_AXIS[func]
    if func in OTHERS:
        return OTHERS[func]
    kind = FUNCTIONS.get(func)
    if kind is None or shape_of(kind, args, kwargs) is None:
        return ""
    return "relu" if kind.startswith("cl") and kind != "celu" else kind  # a clamp at 0


def _axis(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return axis if isinstance(axis, int) else -1
