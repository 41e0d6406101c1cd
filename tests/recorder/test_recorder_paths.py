"""Which path each row is on, as autograd's graph says it: the stream, its branches, heads. Looking changes nothing."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gradlab
from gradlab.recorder import paths as module
from gradlab.recorder.paths import Graph, paths

WIDTH, LENGTH, ROWS = 8, 5, 3


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        weights = (self.q(x) @ self.k(x).transpose(1, 2)).softmax(-1)
        return self.out(weights @ self.v(x))


class Block(nn.Module):
    def __init__(self, post: bool = False) -> None:
        super().__init__()
        self.n1, self.n2, self.attn, self.post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), Attention(), post
        self.f1, self.f2 = nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            x = self.n1(x + self.attn(x))
            return self.n2(x + self.f2(F.gelu(self.f1(x))))
        x = x + self.attn(self.n1(x))
        return x + self.f2(F.gelu(self.f1(self.n2(x))))


class Transformer(nn.Module):
    def __init__(self, post: bool = False, shared: int = 1) -> None:
        super().__init__()
        self.embed, self.block, self.head = nn.Embedding(9, WIDTH), Block(post), nn.Linear(WIDTH, 2)
        self.shared = shared

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for _ in range(self.shared):
            x = self.block(x)
        return self.head(x)


class Residual(nn.Module):
    """As ResNet has it: in place, with a projection where the size changes."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o)
        self.c2, self.b2 = nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o)
        self.down = nn.Conv2d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.b2(self.c2(F.relu(self.b1(self.c1(x)), inplace=True)))
        y += self.down(x)
        return F.relu(y, inplace=True)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.low, self.up = (nn.Conv2d(i, 4, 3, padding=1) for i in (1, 4, 8))

    def forward(self, x: Tensor) -> Tensor:
        high = F.relu(self.down(x))
        low = F.interpolate(F.relu(self.low(F.max_pool2d(high, 2))), scale_factor=2)
        return self.up(torch.cat([low, high], 1))


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(i, WIDTH) for i in (4, WIDTH, 2 * WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        x = torch.cat([x, F.relu(self.b(x))], 1)
        return self.c(x)


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.one, self.two = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.b(self.a(x))
        return {"one": self.one(x), "two": self.two(x)}


class EarlyExit(Heads):
    def forward(self, x: Tensor) -> Any:
        x = self.a(x)
        return self.two(self.one(self.b(x))), x.mean(), Tensor.tanh(x)


class Loss(Heads):
    """A model that computes its own loss, of two heads."""

    def forward(self, x: Tensor) -> Tensor:
        outputs = super().forward(x)
        return outputs["one"].pow(2).mean() + 0.3 * outputs["two"].pow(2).mean()


class Gated(nn.Module):
    """ReZero, a constant factor, an activation and an end as it is, one block each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.a, self.b, self.c, self.d, self.out = (nn.Linear(4, 4) for _ in range(6))
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + self.alpha * self.a(x)
        x = x + 0.1 * self.b(x)
        x = x + torch.tanh(self.c(x))
        x = x + self.d(x).view(x.shape)
        return self.out(x)


class InLoop(nn.Module):
    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(9, 4), cell(4, 4), nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        x, state = self.embed(tokens), None
        for t in range(3):
            state = self.cell(x[:, t], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.i, self.h, self.head = (
            nn.Embedding(9, 4),
            nn.Linear(4, 4),
            nn.Linear(4, 4),
            nn.Linear(4, 2),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        x, h = self.embed(tokens), torch.zeros(len(tokens), 4)
        for t in range(3):
            h = torch.tanh(self.i(x[:, t]) + self.h(h))
        return self.head(h)


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.a, self.b, self.c, self.reentrant = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), reentrant

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.c(x + checkpoint(self.b, x, use_reentrant=self.reentrant))


class Nothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.a(x)


def tokens() -> Tensor:
    return torch.randint(0, 9, (ROWS, LENGTH))


def numbers() -> Tensor:
    return torch.randn(ROWS, 4)


def images() -> Tensor:
    return torch.randn(ROWS, 1, 8, 8)


CELLS = ("embed", "cell", "cell#2", "cell#3", "head")
S, B1, B2, B3 = "stream", "branch 1", "branch 2", "branch 3"
FIRST_BRANCHES = {
    "block.attn.q": ("branch 2", B1, "multiplied"), "block.attn.k": ("branch 3", "branch 2", "multiplied"),
    "block.attn.v": B1, "block.attn.out": (B1, S, "added"),
}  # fmt: skip
OF: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], dict[str, Any]]] = {
    "pre-norm": (Transformer, tokens, {"embed": S, "block.n1": B1, **FIRST_BRANCHES, "block.n2": "branch 4",
        "block.f1": "branch 4", "block.f2": ("branch 4", S, "added"), "head": S}),
    "post-norm": (lambda: Transformer(post=True), tokens, {"embed": S, **FIRST_BRANCHES, "block.n1": S,
        "block.f1": "branch 4", "block.f2": ("branch 4", S, "added"), "block.n2": S, "head": S}),
    "residual, projected": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Residual(4, 4), Residual(4, 8)),
        images, {"0": S, "1.c1": B1, "1.b1": B1, "1.c2": B1, "1.b2": (B1, S, "added"), "2.c1": B2, "2.b1": B2,
        "2.c2": B2, "2.b2": (B2, S, "added"), "2.down": S}),
    "U-Net": (UNet, images, {"down": (S, S, "concatenated"), "low": S, "up": S}),
    "dense": (Dense, numbers, {"a": (S, S, "concatenated"), "b": S, "c": S}),
    "heads": (Heads, numbers, {"a": S, "b": S, "one": "head 1", "two": "head 2"}),
    "an early exit": (EarlyExit, numbers, {"a": S, "b": S, "one": S, "two": S}),
    "heads in a loss": (Loss, numbers, {"a": S, "b": S, "one": "head 1", "two": "head 2"}),
    "gates": (Gated, numbers, {"first": S, "a": (B1, S, "scaled"), "b": (B2, S, "transformed"),
        "c": (B3, S, "transformed"), "d": ("branch 4", S, "added"), "out": S}),
    "RNN cells": (lambda: InLoop(nn.RNNCell), tokens, dict.fromkeys(CELLS, S)),
    "LSTM cells": (lambda: InLoop(nn.LSTMCell), tokens, dict.fromkeys(CELLS, S)),
    "GRU cells": (lambda: InLoop(nn.GRUCell), tokens, dict.fromkeys(CELLS, S)),
    "by hand": (ByHand, tokens, dict.fromkeys(["embed", "i", "h", "i#2", "h#2", "i#3", "h#3", "head"], "")),
    "a checkpoint": (lambda: Checkpointed(False), numbers, {"a": S, "b": (B1, S, "added"), "c": S}),
    "a graph that is cut": (lambda: Checkpointed(True), numbers, {"a": S, "b": "", "c": S}),
    "nothing beside it": (Nothing, numbers, {"a": S}),
}  # fmt: skip


def squares(outputs: Any) -> Tensor:
    if isinstance(outputs, dict):
        outputs = tuple(outputs.values())
    parts = outputs if isinstance(outputs, tuple) else (outputs,)
    return torch.stack([part.pow(2).mean() for part in parts]).sum()


def recorded(model: nn.Module, x: Tensor, steps: int = 1) -> gradlab.Recorder:
    recorder = gradlab.Recorder(model, schedule="all")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = squares(model(x))
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
    return recorder


@pytest.mark.parametrize("name", OF)
def test_each_row_says_which_path_it_is_on(name: str) -> None:
    torch.manual_seed(0)
    make, data, wanted = OF[name]
    found = recorded(make(), data()).to_frame().set_index("name")[["path", "into", "joins"]]
    found = found.loc[[each for each in found.index if each not in ("alpha", "(model)")]]
    expected = {row: (path, "", "") if isinstance(path, str) else path for row, path in wanted.items()}
    assert {row: tuple(words) for row, words in found.T.to_dict("list").items()} == expected


def test_a_block_that_is_called_again_has_branches_of_its_own() -> None:
    frame = recorded(Transformer(shared=3), tokens()).to_frame().set_index("name")
    assert (frame.loc[["embed", "head"], "path"] == "stream").all()
    ends = frame.loc[[f"block.{end}{call}" for call in ("", "#2", "#3") for end in ("attn.out", "f2")]]
    assert ends["path"].nunique() == 6 and (ends["into"] == "stream").all()


def test_an_end_that_is_added_as_it_is_has_the_gradient_of_the_stream() -> None:
    torch.manual_seed(0)
    model, x = Transformer(), tokens()
    streams: list[Tensor] = []

    class Kept(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            if func in (Tensor.__add__, Tensor.add, torch.add):
                out.retain_grad()
                streams.append(out)
            return out

    recorder = gradlab.Recorder(model)
    with recorder:
        with Kept():
            outputs = model(x)
        squares(outputs).backward()
        recorder.step()
    frame = recorder.to_frame().set_index("name")
    ends = frame[frame["joins"] == "added"]
    assert [*ends.index] == ["block.attn.out", "block.f2"] and len(streams) == 2
    for (_, row), stream in zip(ends.iterrows(), streams, strict=True):
        assert stream.grad is not None
        wanted = float((ROWS * stream.grad.double()).pow(2).mean().sqrt())
        assert row["delta_rms"] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("name", OF)
def test_weights_are_the_same_to_the_last_bit_with_and_without(name: str) -> None:
    torch.manual_seed(0)
    make, data, _ = OF[name]
    plain = make()
    watched, x = copy.deepcopy(plain), data()
    recorded(watched, x, steps=2)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        squares(plain(x)).backward()
        optimizer.step()
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one, other)


class Witness:
    """Something that a graph keeps alive."""


class Holds(torch.autograd.Function):
    witness: weakref.ref[Witness]

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.kept = Witness()
        Holds.witness = weakref.ref(ctx.kept)
        return x * 1

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Held(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.b(x + Holds.apply(self.b(x)))


def test_a_graph_lives_no_longer_than_its_outputs() -> None:
    model = Held()
    recorder = gradlab.Recorder(model)
    with recorder:
        outputs = model(numbers())
        assert Holds.witness() is not None
        del outputs
        gc.collect()
        assert Holds.witness() is None
        squares(model(numbers())).backward()
        recorder.step()


def test_only_the_first_record_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    call = Graph.call
    monkeypatch.setattr(Graph, "call", lambda self, *args: looked.append(1) or call(self, *args))
    model, x = Heads(), numbers()
    recorder, optimizer = gradlab.Recorder(model, schedule="all"), torch.optim.SGD(model.parameters(), lr=0.1)
    with recorder:
        for _ in range(4):
            squares(model(x)).backward()
            recorder.step(optimizer=optimizer)
            assert len(looked) == 4


def test_each_optimizer_in_turn_has_a_first_record() -> None:
    """The first turn's graph ends at `detach`, so that what lies below is seen in the other's."""
    one, two = (
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)),
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1)),
    )
    model = nn.ModuleDict({"generator": one, "critic": two})
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in (two, one)]
    recorder = gradlab.Recorder(model, schedule="all")
    with recorder:
        for _ in range(3):
            for turn, optimizer in enumerate(optimizers):
                model.zero_grad()
                with torch.set_grad_enabled(turn == 1):
                    made = one(numbers())
                two(made).mean().backward()
                recorder.step(optimizer=optimizer)
                optimizer.step()
    assert (recorder.to_frame()["path"] != "").all()


def test_a_long_graph_is_walked_without_recursion_and_a_larger_one_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = torch.ones(1, requires_grad=True)
    first = last = x * 2
    for _ in range(3000):
        last = last + 1
    graph = Graph()
    graph.call(("first", 1), [first])
    graph.call(("last", 1), [last])
    assert {key[0]: each.path for key, each in paths(graph).items()} == {"first": "stream", "last": "stream"}
    monkeypatch.setattr(module, "MOST_NODES", 100)
    graph = Graph()
    graph.call(("last", 1), [last])
    assert paths(graph) == {} and len(graph.nodes) == 101


@pytest.mark.parametrize("blocks", [20, 40])
def test_what_is_looked_through_grows_as_the_graph_does(blocks: int) -> None:
    """Of a model that goes through its blocks twice, where each call asks for the one before."""
    layer = nn.Linear(2, 2)
    graph, x = Graph(), torch.ones(1, 2)
    calls = 0
    for call in (1, 2):
        for block in range(blocks):
            out = layer(x)
            graph.call((f"{block}", call), [out])
            x = x + out
            calls += 1
    found = module._Lines(graph)
    assert found.trace() and len(found.known) == calls
    assert found.looked <= module.LOOKED * module.MOST_NODES


def test_an_output_that_was_changed_in_place_is_still_found() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4), nn.ReLU(inplace=True))
    frame = recorded(
        model, torch.randn(ROWS, LENGTH, 4)
    ).to_frame()  # a linear map of three axes gives a view
    assert [*frame["path"]] == ["stream", "stream"]
