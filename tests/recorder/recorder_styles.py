"""Fifteen more models in float64, in the styles of the public tutorials and of torch's nn.Transformer family.

Each says what a plain reader of its code would: which activation follows which module, so that every column can be
computed beside the recorder by plain autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

F64 = torch.float64
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Phi:
    """An activation, its steepest slope, and where it is flat (None: nowhere)."""

    apply: Function
    steepest: float = 1.0
    flat: Function | None = None


RELU = Phi(torch.relu, flat=lambda z: z <= 0)
TANH = Phi(torch.tanh)
SIGMOID = Phi(torch.sigmoid, 0.25)
GELU = Phi(F.gelu, 0.5 * (1 + torch.erf(torch.tensor(1.0, dtype=F64))).item() + torch.e**-1 / sqrt(torch.pi))
SILU = Phi(F.silu, 1.0998393194985)
ELU = Phi(F.elu)
LEAKY = Phi(lambda z: F.leaky_relu(z, 0.2))


@dataclass
class Style:
    """run: one training step's loss; activations: by row; axis: of the units, where it is not the last;
    unseen: modules whose parameters are used without a call of their own; between: rows whose activation is applied
    to something else than the module's output."""

    model: nn.Module
    run: Callable[[nn.Module], Tensor]
    probe: object
    batch: int
    activations: Mapping[str, Phi] = field(default_factory=dict)
    axis: Mapping[str, int] = field(default_factory=dict)
    batch_dim: int = 0
    unseen: tuple[str, ...] = ()
    between: tuple[str, ...] = ()


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(sum(shape) + 17))


def whole(high: int, *shape: int) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(high))


class FunctionalReLU(nn.Module):  # every way to write it
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.fc4, self.fc5 = (nn.Linear(7, 7) for _ in range(5))
        self.out = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.fc1(x), inplace=True)
        x = torch.relu(self.fc2(x))
        x = self.fc3(x).relu_()
        x = self.fc4(x).clamp_(min=0)
        return self.out(F.threshold(self.fc5(x), 0.0, 0.0))


class OneActivation(
    nn.Module
):  # one in-place module after linear maps, in a list, and twice after the same layer
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.LeakyReLU(0.2, inplace=True)
        self.stem = nn.Sequential(nn.Linear(6, 9), self.act)
        self.loop = nn.Sequential(nn.Linear(9, 9), self.act)
        self.head = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(2):
            x = self.loop(x)
        return self.head(x)


class Residual(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = (
            nn.Conv2d(channels, 2 * channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(2 * channels),
        )
        self.conv2, self.bn2 = (
            nn.Conv2d(2 * channels, 2 * channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(2 * channels),
        )
        self.short = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1, stride, bias=False), nn.BatchNorm2d(2 * channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu_(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return out.add_(self.short(x))


class ResidualCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(1, 3, 3), Residual(3, 2)
        self.head = nn.Conv1d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.stem(x).tanh_())
        return self.head(x.flatten(2)).mean(-1)


class PackedLSTM(nn.Module):  # sequences of different lengths, the last state classified
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 5, padding_idx=0)
        self.lstm = nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embed(tokens), lengths, batch_first=True, enforce_sorted=False)
        out, _ = self.lstm(packed)
        return self.fc(pad_packed_sequence(out, batch_first=True)[0].mean(dim=1))


class TiedAutoencoder(nn.Module):  # the decoder is the encoder's transpose
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.shift = nn.Linear(8, 3), nn.Parameter(torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.sigmoid(self.encode(x)), self.encode.weight.t(), self.shift)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(6, 5), nn.Linear(6, 5)
        self.score = nn.Linear(5, 1, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.score(torch.tanh(self.query(query).unsqueeze(1) + self.key(keys))).squeeze(-1)
        weights = F.softmax(scores, dim=-1)
        return (weights.unsqueeze(1) @ keys).squeeze(1), weights


class Seq2Seq(nn.Module):  # additive attention, teacher forcing, one call of the decoder's cell a token
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.encoder = nn.Embedding(7, 4), nn.GRU(4, 6)
        self.attend, self.decoder, self.out = Attention(), nn.GRUCell(10, 6), nn.Linear(6, 7)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:  # both [time, batch]
        memory, h = self.encoder(self.embed(source))
        memory, h, logits = memory.transpose(0, 1), h[-1], []
        for token in target:
            context, _ = self.attend(h, memory)
            h = self.decoder(torch.cat([self.embed(token), context], dim=1), h)
            logits.append(self.out(h))
        return torch.stack(logits)


class ConvVAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc, self.fc_mu, self.fc_var = (
            nn.Conv1d(1, 3, 3, 2, 1),
            nn.Linear(12, 2),
            nn.Linear(12, 2),
        )
        self.up, self.dec = nn.Linear(2, 12), nn.ConvTranspose1d(3, 1, 4, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = F.elu(self.enc(x)).flatten(1)
        mu, logvar = self.fc_mu(h), self.fc_var(h)
        z = torch.distributions.Normal(mu, logvar.mul(0.5).exp()).rsample()
        return {"x": self.dec(F.silu(self.up(z)).unflatten(1, (3, 4))), "mu": mu, "logvar": logvar}


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.twin = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return F.pairwise_distance(self.twin(a), self.twin(b))


class AttentionPooling(
    nn.Module
):  # a learned query, instances of a bag weighted (multiple instance learning)
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.full((5,), 0.3))
        self.value, self.gate = nn.Linear(6, 5), nn.Linear(6, 5)
        self.norm, self.head = nn.LayerNorm(5), nn.Bilinear(5, 5, 3)

    def forward(self, bag: Tensor) -> Tensor:
        value, gate = self.value(bag), self.gate(bag)
        hidden = torch.tanh(value) * torch.sigmoid(gate)
        weights = (hidden @ self.query).softmax(dim=1)
        pooled = self.norm((weights.unsqueeze(-1) * value).sum(dim=1))
        return self.head(pooled, pooled.detach())


def _classify(rows: int, classes: int = 3) -> Callable[[Tensor], Tensor]:
    return lambda z: F.cross_entropy(z, torch.arange(rows) % classes)


def _feed_forward(model: nn.Module, phi: Phi) -> dict[str, Phi]:
    return {name: phi for name, _ in model.named_modules() if name.endswith("linear1")}


def _family(model: nn.Module, phi: Phi, batch_dim: int, batch: int, **inputs: Tensor) -> Style:
    unseen = tuple(name for name, _ in model.named_modules() if name.endswith("out_proj"))
    return Style(
        model, lambda m: m(**inputs).pow(3).mean(), inputs, batch, _feed_forward(model, phi),
        batch_dim=batch_dim, unseen=unseen,
    )  # fmt: skip


def _styles() -> dict[str, Callable[[], Style]]:
    x, images, tokens = draw(6, 7), draw(6, 1, 8, 8), whole(8, 6, 5) + 1
    lengths = torch.tensor([5, 3, 1, 4, 2, 5])
    padded = torch.arange(5)[None] >= lengths[:, None]
    causal = nn.Transformer.generate_square_subsequent_mask(4, dtype=F64)

    def vae(m: nn.Module) -> Tensor:
        torch.manual_seed(11)
        out, inputs = m(draw(6, 1, 8)), draw(6, 1, 8)
        kl = -0.5 * (1 + out["logvar"] - out["mu"] ** 2 - out["logvar"].exp()).mean()
        return F.mse_loss(out["x"], inputs) + 0.1 * kl

    def contrastive(m: nn.Module) -> Tensor:
        distance, alike = m(draw(6, 8), draw(8, 8)[:6]), torch.arange(6) % 2
        return (alike * distance**2 + (1 - alike) * F.relu(3 - distance) ** 2).mean()

    def encoder() -> Style:
        layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, F.gelu, batch_first=True)
        model = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))  # nested tensors in eval mode, if it may
        return _family(model, GELU, 0, 6, src=draw(6, 5, 8), src_key_padding_mask=padded)

    def decoder() -> Style:
        layer = nn.TransformerDecoderLayer(8, 2, 12, 0.0, norm_first=True)
        model = nn.TransformerDecoder(layer, 2)
        return _family(model, RELU, 1, 6, tgt=draw(4, 6, 8), memory=draw(5, 6, 8), tgt_mask=causal)

    def transformer() -> Style:
        model = nn.Transformer(8, 2, 2, 1, 12, 0.0, F.silu, batch_first=True)
        return _family(model, SILU, 0, 6, src=draw(6, 5, 8), tgt=draw(6, 4, 8), tgt_mask=causal)

    def encoder_layer() -> Style:
        model = nn.TransformerEncoderLayer(8, 4, 12, 0.0, torch.tanh, norm_first=True, bias=False)
        return _family(model, TANH, 1, 6, src=draw(5, 6, 8))

    def decoder_layer() -> Style:
        model = nn.TransformerDecoderLayer(8, 2, 12, 0.0, nn.ELU(inplace=True), batch_first=True)
        return _family(model, ELU, 0, 6, tgt=draw(6, 4, 8), memory=draw(6, 5, 8))

    return {
        "functional_relu": lambda: Style(
            FunctionalReLU(), lambda m: _classify(6)(m(x)), x, 6, {f"fc{i}": RELU for i in range(1, 6)}
        ),
        "one_activation": lambda: Style(
            OneActivation(), lambda m: _classify(6)(m(x[:, :6])), x[:, :6], 6,
            {"stem.0": LEAKY, "loop.0": LEAKY, "loop.0#2": LEAKY},
        ),
        "residual_cnn": lambda: Style(
            ResidualCNN(), lambda m: _classify(6)(m(images)), images, 6, {"stem": TANH, "block.bn1": RELU},
            dict.fromkeys(("stem", "block.conv1", "block.conv2", "block.bn1", "block.bn2", "block.short.0",
                           "block.short.1", "head"), 1),
        ),
        "packed_lstm": lambda: Style(
            PackedLSTM(), lambda m: _classify(6)(m(tokens, lengths)), (tokens, lengths), 6
        ),
        "tied_autoencoder": lambda: Style(
            TiedAutoencoder(), lambda m: F.mse_loss(m(draw(6, 8)), draw(6, 8)), draw(6, 8), 6,
            {"encode": SIGMOID},
        ),
        "seq2seq": lambda: Style(
            Seq2Seq(), lambda m: F.cross_entropy(m(whole(7, 3, 6), whole(7, 2, 6)).flatten(0, 1),
                                                 whole(7, 2, 6).flatten()),
            (whole(7, 3, 6), whole(7, 2, 6)), 6, batch_dim=1, between=("attend.key", "attend.key#2"),
        ),
        "conv_vae": lambda: Style(ConvVAE(), vae, draw(6, 1, 8), 6, {"enc": ELU, "up": SILU},
                                  {"enc": 1, "dec": 1}),
        "siamese": lambda: Style(
            Siamese(), contrastive, (draw(6, 8), draw(8, 8)[:6]), 6, {"twin.0": RELU, "twin.0#2": RELU}
        ),
        "attention_pooling": lambda: Style(
            AttentionPooling(), lambda m: _classify(6)(m(draw(6, 4, 6))), {"bag": draw(6, 4, 6)}, 6,
            {"value": TANH, "gate": SIGMOID},
        ),
        "transformer": transformer,
        "encoder": encoder,
        "decoder": decoder,
        "encoder_layer": encoder_layer,
        "decoder_layer": decoder_layer,
    }  # fmt: skip


STYLES = _styles()


def make_style(name: str) -> Style:
    """The style with its initial weights, the same every time; the global generator is seeded by it."""
    torch.manual_seed(23)
    style = STYLES[name]()
    style.model.to(F64)
    return style
