"""torch.optim's own updates through their functional form, which does not import the compiler on construction.

Every update is elementwise, so the replicas of a stack stay independent; the fused kernels are avoided because
they do not give a replica of a stack the same bits as the replica alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

BUFFERS = ("momenta", "squares", "means", "counts")


class Optimizer:
    """Updates a fixed list of parameters in place; its state is one buffer a parameter and kind."""

    def __init__(
        self, name: str, parameters: Sequence[Tensor], *, momentum: float | None, weight_decay: float
    ) -> None:
        self.name = name
        self.parameters = list(parameters)
        usual = 0.9 if name in ("momentum", "nesterov") else 0.0
        self.momentum = usual if momentum is None else momentum
        self.weight_decay = weight_decay
        self.momenta: list[Tensor | None] = [None] * len(self.parameters)
        adaptive = name in ("adam", "adamw", "rmsprop")
        self.squares = [torch.zeros_like(p) for p in self.parameters] if adaptive else []
        self.means = [torch.zeros_like(p) for p in self.parameters] if name in ("adam", "adamw") else []
        if name == "rmsprop" and self.momentum > 0:
            self.momenta = [torch.zeros_like(p) for p in self.parameters]
        self.counts = [torch.tensor(0.0) for _ in self.parameters] if adaptive else []

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """Apply one update; `gradients` in the order of the parameters, which may be overwritten."""
        gradients = list(gradients)
        if self.name == "sgd" and not self.weight_decay:  # what `sgd` below comes to, without its bookkeeping
            torch._foreach_add_(self.parameters, gradients, alpha=-lr)
        elif self.name in ("sgd", "momentum", "nesterov"):
            sgd(
                self.parameters,
                gradients,
                self.momenta,
                foreach=True,
                weight_decay=self.weight_decay,
                momentum=self.momentum,
                lr=lr,
                dampening=0.0,
                nesterov=self.name == "nesterov",
                maximize=False,
            )
        elif self.name == "rmsprop":
            rmsprop(
                self.parameters,
                gradients,
                self.squares,
                [],
                [buffer for buffer in self.momenta if buffer is not None],
                self.counts,
                foreach=True,
                lr=lr,
                alpha=0.99,
                eps=1e-8,
                weight_decay=self.weight_decay,
                momentum=self.momentum,
                centered=False,
            )
        else:
            (adam if self.name == "adam" else adamw)(
                self.parameters,
                gradients,
                self.means,
                self.squares,
                [],
                self.counts,
                foreach=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=lr,
                weight_decay=self.weight_decay,
                eps=1e-8,
                maximize=False,
            )

    def state(self) -> dict[str, Tensor]:
        """Its buffers by kind and place, for a checkpoint."""
        return {
            f"{kind}/{place}": buffer
            for kind in BUFFERS
            for place, buffer in enumerate(getattr(self, kind))
            if buffer is not None
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, buffer in state.items():
            kind, place = name.split("/")
            device = "cpu" if kind == "counts" else self.parameters[int(place)].device
            getattr(self, kind)[int(place)] = buffer.to(device)
