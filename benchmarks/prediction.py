"""Measured over predicted in models of public style, at birth.

    python -m benchmarks.prediction [--seeds N] [--only NAME]

Each model is built anew for each seed, takes one batch of drawn data, and is recorded once. A row's factor is its
delta_rms over that of the last row before it that is known; the whole net's is the lowest row's. Both are given as the
median over the seeds of measured / predicted, the rows' as the furthest from 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlab import Recorder

WIDTH = 128


class Residual(nn.Module):
    """x + branch(x)"""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def mlp(activation: type[nn.Module] = nn.ReLU, gain: float = 2.0) -> nn.Module:
    layers: list[nn.Module] = []
    for place in range(8):
        layers += [nn.Linear(64 if place == 0 else 2 * WIDTH, 2 * WIDTH), activation()]
    net = nn.Sequential(*layers, nn.Linear(2 * WIDTH, 10))
    return drawn(net, gain)


def drawn(net: nn.Module, gain: float) -> nn.Module:
    """Weights of variance gain / fan_in, biases 0."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=(gain / module.weight[0].numel()) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def cnn(norm: Callable[[int], nn.Module] | None = None) -> nn.Module:
    def block(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=norm is None)
        return [conv, *([] if norm is None else [norm(outputs)]), nn.ReLU()]

    w = WIDTH
    parts = [*block(3, w), *block(w, w), nn.MaxPool2d(2), *block(w, w), *block(w, 2 * w, stride=2)]
    net = nn.Sequential(
        *parts, *block(2 * w, 2 * w), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * w, 10)
    )
    return drawn(net, 2.0)


class Bottleneck(nn.Module):
    """A residual block as in ResNet: norms, a projection where the stride asks for one, ReLU behind the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Identity()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.down = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + self.down(x))


def resnet() -> nn.Module:
    w = WIDTH
    blocks = [Bottleneck(w, w, 1), Bottleneck(w, w, 1), Bottleneck(w, 2 * w, 2), Bottleneck(2 * w, 2 * w, 1)]
    stem = [nn.Conv2d(3, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), nn.ReLU(inplace=True)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * w, 10))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def double(inputs: int, outputs: int) -> nn.Module:
            parts: list[nn.Module] = []
            for each in (inputs, outputs):
                parts += [
                    nn.Conv2d(each, outputs, 3, padding=1),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(inplace=True),
                ]
            return nn.Sequential(*parts)

        w = WIDTH
        self.down1, self.down2, self.bottom = double(3, w), double(w, w), double(w, 2 * w)
        self.up2, self.dec2 = nn.ConvTranspose2d(2 * w, w, 2, stride=2), double(2 * w, w)
        self.up1, self.dec1 = nn.Upsample(scale_factor=2), double(2 * w, w)
        self.head = nn.Conv2d(w, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        low = self.bottom(F.max_pool2d(two, 2))
        two = self.dec2(torch.cat([two, self.up2(low)], dim=1))
        return self.head(self.dec1(torch.cat([one, self.up1(two)], dim=1)))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNN] | type[nn.LSTM]) -> None:
        super().__init__()
        self.embed, self.project = nn.Embedding(50, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm, self.rnn = nn.LayerNorm(WIDTH), kind(WIDTH, WIDTH, batch_first=True)
        self.mix, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        out, _ = self.rnn(self.norm(self.project(self.embed(tokens))))
        return self.head(torch.tanh(self.mix(out[:, -1])))


class Encoder(nn.Module):
    """Torch's encoder layers, each drawn anew."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(1, 16, WIDTH))
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.1, batch_first=True, norm_first=norm_first)
                for _ in range(4)
            )
        )
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.layers(self.embed(tokens) + self.place)
        return self.head(self.norm(x).mean(dim=1))


class CausalAttention(nn.Module):
    """Written out, as in many a GPT."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.c_attn(x).split(width, dim=2)
        q, k, v = (each.view(batch, length, self.heads, -1).transpose(1, 2) for each in (q, k, v))
        logits = (q @ k.transpose(-2, -1)) * (1.0 / k.shape[-1] ** 0.5)
        mask = torch.tril(torch.ones(length, length, dtype=torch.bool))
        weights = F.softmax(logits.masked_fill(~mask, float("-inf")), dim=-1)
        return self.c_proj((weights @ v).transpose(1, 2).contiguous().view(batch, length, width))


class Gpt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        w = WIDTH
        self.wte, self.wpe = nn.Embedding(65, w), nn.Embedding(32, w)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.LayerNorm(w),
                    CausalAttention(),
                    nn.LayerNorm(w),
                    nn.Linear(w, 4 * w),
                    nn.Linear(4 * w, w),
                ]
            )
            for _ in range(4)
        )
        self.ln_f, self.head = nn.LayerNorm(w), nn.Linear(w, 65, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
                if getattr(module, "bias", None) is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for ln_1, attention, ln_2, up, down in self.blocks:
            x = x + attention(ln_1(x))
            x = x + down(F.gelu(up(ln_2(x))))
        return self.head(self.ln_f(x)).transpose(1, 2)


class Vit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        w = WIDTH
        self.patch = nn.Conv2d(3, w, 4, stride=4)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, w))
        self.place = nn.Parameter(0.02 * torch.randn(1, 17, w))
        layers = [
            nn.TransformerEncoderLayer(w, 4, 4 * w, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(4)
        ]
        self.layers, self.norm, self.head = nn.Sequential(*layers), nn.LayerNorm(w), nn.Linear(w, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1) + self.place
        return self.head(self.norm(self.layers(tokens))[:, 0])


class MixerBlock(nn.Module):
    def __init__(self, tokens: int) -> None:
        super().__init__()
        w = WIDTH
        self.norm1, self.norm2 = nn.LayerNorm(w), nn.LayerNorm(w)
        self.tokens = nn.Sequential(nn.Linear(tokens, w), nn.GELU(), nn.Linear(w, tokens))
        self.channels = nn.Sequential(nn.Linear(w, 4 * w), nn.GELU(), nn.Linear(4 * w, w))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 2, stride=2)
        self.blocks = nn.Sequential(*(MixerBlock(64) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patch(x).flatten(2).transpose(1, 2))
        return self.head(self.norm(x).mean(dim=1))


def autoencoder() -> nn.Module:
    sizes = [784, 512, 256, WIDTH, 256, 512, 784]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Sigmoid())


class Gcn(nn.Module):
    """Kipf and Welling's layers on one graph."""

    def __init__(self) -> None:
        super().__init__()
        torch_state = torch.Generator().manual_seed(5)
        edges = (torch.rand(200, 200, generator=torch_state) < 0.02).float()
        whole = ((edges + edges.T) > 0).float() + torch.eye(200)
        scale = whole.sum(1).rsqrt()
        self.register_buffer("adjacency", scale[:, None] * whole * scale)
        sizes = [64, *[WIDTH] * 4]
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(sizes))
        self.head = nn.Linear(WIDTH, 7)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.relu(self.adjacency @ layer(x))
        return self.head(x)


@dataclass(frozen=True)
class Architecture:
    """build: the model; batch: its inputs and targets, from torch's generator; loss: of outputs and targets"""

    build: Callable[[], nn.Module]
    batch: Callable[[], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy


def features(count: int, size: int, classes: int = 10) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randn(count, size), torch.randint(0, classes, (count,)))


def images(count: int = 32, size: int = 12) -> tuple[Tensor, Tensor]:
    """Smooth ones, as pictures are."""
    coarse = F.interpolate(torch.randn(count, 3, 4, 4), size=size, mode="bilinear")
    return coarse + 0.3 * torch.randn(count, 3, size, size), torch.randint(0, 10, (count,))


def words(count: int, length: int) -> tuple[Tensor, Tensor]:
    return torch.randint(0, 50, (count, length)), torch.randint(0, 10, (count,))


def text(count: int = 8, length: int = 32) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(0, 65, (count, length + 1))
    return tokens[:, :-1], tokens[:, 1:]


def masks() -> tuple[Tensor, Tensor]:
    return images(16)[0], torch.randint(0, 4, (16, 12, 12))


def pictures() -> tuple[Tensor, Tensor]:
    x = torch.rand(64, 784)
    return x, x


ARCHITECTURES: dict[str, Architecture] = {
    "mlp relu": Architecture(mlp, features(128, 64)),
    "mlp tanh": Architecture(lambda: mlp(nn.Tanh, 1.5), features(128, 64)),
    "cnn": Architecture(cnn, images),
    "cnn batch norm": Architecture(lambda: cnn(nn.BatchNorm2d), images),
    "cnn layer norm": Architecture(lambda: cnn(lambda channels: nn.GroupNorm(1, channels)), images),
    "cnn group norm": Architecture(lambda: cnn(lambda channels: nn.GroupNorm(8, channels)), images),
    "cnn instance norm": Architecture(lambda: cnn(nn.InstanceNorm2d), images),
    "resnet": Architecture(resnet, images),
    "u-net": Architecture(UNet, masks),
    "rnn": Architecture(lambda: Recurrent(nn.RNN), lambda: words(64, 12)),
    "lstm": Architecture(lambda: Recurrent(nn.LSTM), lambda: words(64, 12)),
    "transformer pre-norm": Architecture(lambda: Encoder(True), lambda: words(32, 16)),
    "transformer post-norm": Architecture(lambda: Encoder(False), lambda: words(32, 16)),
    "gpt": Architecture(Gpt, text),
    "vit": Architecture(Vit, lambda: images(16, 16)),
    "mixer": Architecture(Mixer, lambda: images(16, 16)),
    "autoencoder": Architecture(autoencoder, pictures, F.mse_loss),
    "graph convolution": Architecture(Gcn, features(200, 64, 7)),
}


def recorded(architecture: Architecture, seed: int) -> pd.DataFrame:
    """The rows of one record of one model at birth."""
    torch.manual_seed(seed)
    model, (x, y) = architecture.build(), architecture.batch()
    with Recorder(model, probe=x) as recorder:
        loss = architecture.loss(model(x), y)
        loss.backward()
        recorder.step(loss=loss)
    rows = recorder.to_frame()
    return rows.assign(seed=seed)


def agreement(rows: pd.DataFrame) -> pd.DataFrame:
    """[row]: medians over the seeds of measured / predicted: `delta_net` from the model's end down to the row,
    `delta_module` of the step from the known row above, `h` of the row's own activation. rows: of all seeds
    """
    rows = rows[rows["delta_rms"].notna()]
    delta, h = (
        (rows[name] / rows[f"{name}_predicted"])
        .groupby([rows["layer"], rows["seed"]])
        .first()
        .unstack("seed")
        for name in ("delta_rms", "h_rms")
    )
    above = delta[::-1].fillna(1.0).shift(1, fill_value=1.0)[::-1]
    medians = {"delta_net": delta, "delta_module": delta / above, "h": h}
    found = pd.DataFrame({name: each.median(axis=1) for name, each in medians.items()})
    return found.assign(name=rows.groupby("layer")["name"].first())


def furthest(ratios: pd.Series) -> float:
    """The ratio that is furthest from 1."""
    known = ratios.dropna()
    return float(known.iloc[np.abs(np.log(known)).argmax()]) if len(known) else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--only", default="", help="part of a model's name")
    parser.add_argument("--rows", action="store_true", help="every row, not the furthest alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | rows | predicted | delta, a module | delta, the net | h |")
    print("|---|---|---|---|---|---|")
    total = predicted = 0
    for name, architecture in ARCHITECTURES.items():
        if options.only not in name:
            continue
        found = agreement(pd.concat([recorded(architecture, seed) for seed in range(options.seeds)]))
        if options.rows:
            print(found.to_string())
        count = int((found["delta_net"].notna() | found["h"].notna()).sum())
        total, predicted = total + len(found), predicted + count
        numbers = [f"{furthest(found[column]):.3f}" for column in ("delta_module", "delta_net", "h")]
        print(f"| {name} | {len(found)} | {count} | {' | '.join(numbers)} |".replace("nan", ""))
    print(f"\n{predicted} of {total} rows have a prediction ({predicted / total:.0%})")


if __name__ == "__main__":
    main()
