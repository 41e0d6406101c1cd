"""What a user would write instead of `gradlab compare`: one model after another, in plain PyTorch.

The models, the data, the numbers of steps and the batches are gradlab's; the initial weights are torch's own way of
drawing the same initialisation, one model at a time.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradlab.config.resolve import DEFAULT_GRID, DEFAULT_GRID_STEPS
from gradlab.data import load
from gradlab.train.batches import BatchStream

ACTIVATIONS: dict[str, Any] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, 0.01),
    "prelu": nn.PReLU,
    "gelu": nn.GELU,
}


class HardSigmoid(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return torch.clamp(0.2 * z + 0.5, 0.0, 1.0)


ACTIVATIONS["hard_sigmoid"] = HardSigmoid
LOGISTIC = ("sigmoid", "hard_sigmoid", "tanh", "linear")


def make_model(activation: str, depth: int, width: int, features: int, classes: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    fan_in = features
    for _ in range(depth):
        parts += [nn.Linear(fan_in, width), ACTIVATIONS[activation]()]
        fan_in = width
    model = nn.Sequential(*parts, nn.Linear(fan_in, classes))
    for module in model:
        if isinstance(module, nn.Linear):
            draw = nn.init.xavier_normal_ if activation in LOGISTIC else nn.init.kaiming_normal_
            draw(module.weight)
            nn.init.zeros_(module.bias)
    return model


def train(
    activation: str, depth: int, *, width: int = 64, batch: int = 64, steps: int, seed: int, hooked: bool
) -> list[dict[str, float]]:
    """Train one model on digits; hooked: note every layer's norms in every step, by hooks and `.item()`."""
    data = load("digits")
    x, y = torch.from_numpy(data.x_train).float(), torch.from_numpy(data.y_train)
    torch.manual_seed(seed)
    model = make_model(activation, depth, width, data.features, data.classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03)
    stream = BatchStream(len(y), batch, [seed])
    norms: dict[str, float] = {}
    log: list[dict[str, float]] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, out: Tensor) -> None:
            norms[f"{name} output"] = out.norm().item()
            norms[f"{name} zeros"] = (out == 0).float().mean().item()

        return hook

    if hooked:
        for name, module in model.named_children():
            module.register_forward_hook(note(name))
    for _ in range(steps):
        rows = stream.next()[0]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        if hooked:
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None
                norms[f"{name} gradient"] = parameter.grad.norm().item()
            log.append({"loss": loss.item(), **norms})
        optimizer.step()
    return log


def main() -> None:
    """Train the default comparison's models: `python -m benchmarks.speed.script [hooked]`."""
    for activation in DEFAULT_GRID["network.activation"]:
        for depth in DEFAULT_GRID["network.depth"]:
            for seed in range(3):
                train(
                    str(activation),
                    int(depth),
                    steps=DEFAULT_GRID_STEPS,
                    seed=seed,
                    hooked="hooked" in sys.argv,
                )


if __name__ == "__main__":
    main()
