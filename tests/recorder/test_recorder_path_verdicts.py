"""Real trainings with a stream and branches: what learns is healthy however branches begin, and a fault is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import gradlab

pytestmark = pytest.mark.slow
TRAINED, PROBED = 1200, 1456


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    found = load_digits()
    return torch.tensor(found.images, dtype=torch.float32) / 8 - 1, torch.tensor(found.target)


def zeroed(*modules: nn.Module) -> None:
    for module in modules:
        for parameter in module.parameters():
            nn.init.zeros_(parameter)


class Block(nn.Module):
    def __init__(self, width: int, post: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.n1, self.n2, self.post = nn.LayerNorm(width), nn.LayerNorm(width), post
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def attend(self, x: Tensor) -> Tensor:
        found: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return found

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            x = self.n1(x + self.attend(x))
            return self.n2(x + self.down(F.gelu(self.up(x))))
        x = x + self.attend(self.n1(x))
        return x + self.down(F.gelu(self.up(self.n2(x))))


class ViT(nn.Module):
    """post: the norm stands on the stream; else in the branches, which end in zeros."""

    def __init__(self, depth: int, post: bool, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, 2)
        self.place = nn.Parameter(0.02 * torch.randn(16, width))
        self.blocks = nn.Sequential(*(Block(width, post) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)
        if not post:
            zeroed(*(part for b in self.blocks for part in (b.attention.out_proj, b.down)))  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x.unsqueeze(1)).flatten(2).transpose(1, 2) + self.place
        return self.head(self.norm(self.blocks(x)).mean(1))


class Residual(nn.Module):
    """The last norm's weight is 0, as `zero_init_residual` has it."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)
        self.c2, self.b2 = nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)
        self.down = nn.Conv2d(i, o, 1, bias=False) if i != o else nn.Identity()
        nn.init.zeros_(self.b2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.down(x) + self.b2(self.c2(F.relu(self.b1(self.c1(x))))))


class ReZero(nn.Module):
    def __init__(self, depth: int = 12, width: int = 48) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(64, width), nn.Linear(width, 10)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth))
        self.alpha = nn.Parameter(torch.zeros(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        for alpha, block in zip(self.alpha, self.blocks, strict=True):
            x = x + alpha * block(x)
        return self.out(x)


class LoRA(nn.Module):
    def __init__(self, base: nn.Linear, rank: int = 8) -> None:
        super().__init__()
        self.base, self.a = base.requires_grad_(False), nn.Linear(base.in_features, rank, bias=False)
        self.b = nn.Linear(rank, base.out_features, bias=False)
        zeroed(self.b)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2 * self.b(self.a(x))


def lora() -> nn.Module:
    sizes = [(64, 48), (48, 48), (48, 48)]
    hidden = [part for i, o in sizes for part in (LoRA(nn.Linear(i, o)), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, LoRA(nn.Linear(48, 10)))


def resnet() -> nn.Module:
    stem = nn.Sequential(
        nn.Unflatten(1, (1, 8)), nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
    )
    blocks = (Residual(8, 8), Residual(8, 16), Residual(16, 16))
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def trained(
    model: nn.Module, data: tuple[Tensor, Tensor], optimizer: torch.optim.Optimizer, steps: int
) -> gradlab.Recorder:
    x, y = data
    probe = slice(TRAINED, PROBED)
    recorder = gradlab.Recorder(
        model, probe=x[probe], targets=y[probe], criterion=F.cross_entropy, steps=steps
    )
    with recorder:
        for _ in range(steps):
            rows = torch.randint(TRAINED, (64,))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
    return recorder


CLOSED: dict[str, Callable[[], nn.Module]] = {
    "ViT": lambda: ViT(2, post=False), "ResNet": resnet, "ReZero": ReZero, "LoRA": lora
}  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CLOSED)
def test_branches_that_begin_closed_are_healthy(name: str, seed: int, digits: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(seed)
    model = CLOSED[name]()
    learns = [each for each in model.parameters() if each.requires_grad]
    recorder = trained(model, digits, torch.optim.Adam(learns, 5e-3), 150)
    frame, found = recorder.to_frame(), recorder.diagnose()
    assert ((frame["step"] == 0) & (frame["delta_rms"] == 0)).any()  # some are closed
    assert found.verdicts == ("healthy",)
    assert not any("vanishing" in note for note in found.notes)


@pytest.mark.parametrize("seed", range(3))
def test_a_norm_on_the_stream_without_warm_up_is_named(seed: int, digits: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(seed)
    model = ViT(12, post=True)
    recorder = trained(model, digits, torch.optim.Adam(model.parameters(), 1e-2), 120)
    assert {"vanishing", "rank-collapse"} & {*recorder.verdicts}


@pytest.mark.parametrize("seed", range(3))
def test_a_generator_whose_critic_is_sure_fades(seed: int) -> None:
    torch.manual_seed(seed)
    generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    critic = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    makes, judges = (
        torch.optim.Adam(generator.parameters(), 1e-4),
        torch.optim.Adam(critic.parameters(), 1e-2),
    )
    cost, ones, zeros = F.binary_cross_entropy_with_logits, torch.ones(64, 1), torch.zeros(64, 1)
    recorder = gradlab.Recorder(generator, steps=200)
    with recorder:
        for _ in range(200):
            for _ in range(3):
                judges.zero_grad()
                fake = generator(torch.randn(64, 4)).detach()
                (cost(critic(5 + 0.1 * torch.randn(64, 2)), ones) + cost(critic(fake), zeros)).backward()
                judges.step()
            makes.zero_grad()
            loss = -cost(critic(generator(torch.randn(64, 4))), zeros)  # log(1 - D), which it makes small
            loss.backward()
            recorder.step(loss=loss, optimizer=makes)
            makes.step()
    found = recorder.diagnose()
    assert found.verdicts == ("fading",)
    assert "log D in place of log(1 - D)" in found.advice
