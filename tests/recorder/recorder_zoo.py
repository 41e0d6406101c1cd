"""Twenty small models in the styles that users write, each with the loss of one training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Loss = Callable[[nn.Module], Tensor]


@dataclass
class Case:
    """batch_dim: where the model counts samples; probe: inputs for its own call; silent: modules without a call."""

    model: nn.Module
    loss: Loss
    probe: object
    batch_dim: int = 0
    silent: tuple[str, ...] = ()


def _labels(n: int, classes: int = 4) -> Tensor:
    return torch.arange(n) % classes


class FunctionalCNN(nn.Module):  # the style of the CIFAR-10 tutorial
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)
        self.fc1, self.fc2 = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv2(x))
        return self.fc2(torch.relu(self.fc1(torch.flatten(x, 1))))


class SharedActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(4)])
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.act(layer(x))
        return self.head(x)


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


class LSTMClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm, self.fc = nn.Embedding(11, 6), nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        out, _ = self.lstm(self.embed(tokens))
        return self.fc(out[:, -1])


class Seq2Seq(nn.Module):  # the decoder is called once a token, as in the translation tutorial
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.GRU(5, 6, batch_first=True), nn.GRUCell(5, 6)
        self.out = nn.Linear(6, 5)

    def forward(self, source: Tensor) -> Tensor:
        _, h = self.encoder(source)
        h, token, outputs = h[0], torch.zeros(len(source), 5), []
        for _ in range(3):
            h = self.decoder(token, h)
            outputs.append(self.out(h))
            token = outputs[-1].softmax(-1)
        return torch.stack(outputs, dim=1)


class VAE(nn.Module):  # draws noise in every forward pass
    def __init__(self) -> None:
        super().__init__()
        self.enc, self.mu, self.logvar = nn.Linear(8, 16), nn.Linear(16, 3), nn.Linear(16, 3)
        self.dec1, self.dec2 = nn.Linear(3, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.enc(x))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return torch.sigmoid(self.dec2(F.relu(self.dec1(z)))), mu, logvar


class DynamicNet(nn.Module):  # one module in a loop, ReLU by clamp: the style of "PyTorch with examples"
    def __init__(self) -> None:
        super().__init__()
        self.input, self.middle, self.output = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.input(x).clamp(min=0)
        for _ in range(3):
            h = self.middle(h).clamp(min=0)
        return self.output(h)


class CharRNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.i2h, self.h2o = nn.Linear(5 + 8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[0], 8)
        for t in range(x.shape[1]):
            h = self.i2h(torch.cat([x[:, t], h], dim=1)).tanh()
        return self.h2o(h)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.mid = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(4, 4, 2, stride=2), nn.Conv2d(5, 1, 1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        d = F.leaky_relu(self.norm(self.down(x)), 0.1)
        return self.out(torch.cat([F.elu(self.up(F.silu(self.mid(d)))), x], dim=1))


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.first = nn.Linear(8, 8)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(3)])
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(x)


class ComplexNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(8, 8, dtype=torch.complex64)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mix(torch.complex(x, x.flip(1))).abs())


class Patches(nn.Module):  # parameters of the model's own, layer norm, GELU, attention
    def __init__(self) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, 8))
        self.proj, self.norm = nn.Linear(4, 8), nn.LayerNorm(8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp, self.head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = torch.cat([self.cls.expand(len(x), -1, -1), self.proj(x)], dim=1)
        y = self.norm(x)
        x = x + self.attend(y, y, y, need_weights=False)[0]
        return {"logits": self.head((x + self.mlp(x))[:, 0])}


def _mlp(*extra: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), *extra, nn.Linear(16, 4))


def _classify(model: nn.Module, x: Tensor, n: int = 6) -> Case:
    return Case(model, lambda m: F.cross_entropy(m(x), _labels(n)), x)


def _transformer(model: nn.Module, *inputs: Tensor, batch_dim: int = 1) -> Case:
    silent = tuple(name for name, m in model.named_modules() if name.endswith("out_proj"))
    return Case(model, lambda m: m(*inputs).square().mean(), inputs, batch_dim, silent)


def _cases() -> dict[str, Callable[[], Case]]:
    def x(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))

    def images() -> Tensor:
        return x(6, 1, 8, 8)

    def tokens() -> Tensor:
        return torch.randint(0, 11, (6, 5), generator=torch.Generator().manual_seed(1))

    enc = {"dim_feedforward": 16, "dropout": 0.1}

    def vae_loss(m: nn.Module) -> Tensor:
        inputs = x(6, 8).sigmoid()
        y, mu, logvar = m(inputs)
        return F.binary_cross_entropy(y, inputs) - 0.5 * (1 + logvar - mu**2 - logvar.exp()).mean()

    def sparse() -> Case:
        model = nn.Sequential(nn.EmbeddingBag(11, 16, sparse=True), nn.ReLU(), nn.Linear(16, 4))
        return _classify(model, tokens())

    def patches() -> Case:
        inputs = x(6, 5, 4)
        return Case(
            Patches(),
            lambda m: F.cross_entropy(m(inputs)["logits"], _labels(6)),
            {"x": inputs},
            silent=("attend.out_proj",),
        )

    return {
        "transformer": lambda: _transformer(nn.Transformer(8, 2, 1, 1, **enc), x(5, 6, 8), x(4, 6, 8)),
        "encoder": lambda: _transformer(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, activation="gelu", **enc), 2), x(5, 6, 8)
        ),
        "decoder": lambda: _transformer(
            nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, **enc), 2), x(4, 6, 8), x(5, 6, 8)
        ),
        "encoder_layer": lambda: _transformer(
            nn.TransformerEncoderLayer(8, 2, norm_first=True, batch_first=True, **enc),
            x(6, 5, 8),
            batch_dim=0,
        ),
        "decoder_layer": lambda: _transformer(
            nn.TransformerDecoderLayer(8, 2, **enc), x(4, 6, 8), x(5, 6, 8)
        ),
        "functional_cnn": lambda: _classify(FunctionalCNN(), images()),
        "shared_activation": lambda: _classify(SharedActivation(), x(6, 8)),
        "residual_cnn": lambda: _classify(
            nn.Sequential(
                nn.Conv2d(1, 4, 3), Block(4), Block(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
            ),
            images(),
        ),
        "lstm": lambda: _classify(LSTMClassifier(), tokens()),
        "autoencoder": lambda: Case(
            nn.Sequential(nn.Linear(8, 3), nn.Tanh(), nn.Linear(3, 8), nn.Sigmoid()),
            lambda m: F.mse_loss(m(x(6, 8)), x(6, 8)),
            x(6, 8),
        ),
        "seq2seq": lambda: Case(Seq2Seq(), lambda m: m(x(6, 4, 5)).square().mean(), x(6, 4, 5)),
        "vae": lambda: Case(VAE(), vae_loss, x(6, 8)),
        "dynamic": lambda: _classify(DynamicNet(), x(6, 8)),
        "char_rnn": lambda: _classify(CharRNN(), x(6, 3, 5)),
        "sparse_bag": sparse,
        "dropout_batchnorm": lambda: _classify(
            _mlp(nn.BatchNorm1d(16), nn.PReLU(), nn.Dropout(0.3)), x(6, 8)
        ),
        "unet": lambda: Case(UNet(), lambda m: m(images()).square().mean(), images()),
        "checkpointed": lambda: _classify(Checkpointed(reentrant=False), x(6, 8)),
        "complex": lambda: _classify(ComplexNet(), x(6, 8)),
        "weight_norm": lambda: _classify(
            nn.Sequential(
                nn.utils.parametrizations.weight_norm(nn.Linear(8, 16)), nn.Hardtanh(), nn.Linear(16, 4)
            ),
            x(6, 8),
        ),
        "patches": patches,
    }


CASES = _cases()


def make(name: str) -> Case:
    """The case with its initial weights, the same every time; the global generator is seeded by it."""
    torch.manual_seed(3)
    return CASES[name]()
