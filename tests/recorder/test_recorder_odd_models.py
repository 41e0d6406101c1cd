"""Odd things that models and loops do, each beside plain autograd."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradlab.recorder.recorder import Recorder

F64 = torch.float64
X = torch.randn(6, 5, 8, dtype=F64, generator=torch.Generator().manual_seed(7))
Y = torch.arange(6) % 4


def rows_of(recorder: Recorder, step: int = 0) -> pd.DataFrame:
    rows = recorder.to_frame()
    return rows[rows["step"] == step].set_index("name")


def rms(gradient: Tensor | None, samples: int = 6) -> float:
    assert gradient is not None
    return float((samples * gradient).square().mean().sqrt())


def seeded(model: type[nn.Module] | nn.Module) -> nn.Module:
    torch.manual_seed(1)
    return model().to(F64) if isinstance(model, type) else model.to(F64)


class InPlaceOnViews(nn.Module):
    """A linear map of [batch, time, feature] returns a view; each is changed in place in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.added, self.used, self.twice = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.out = nn.Linear(8, 4)

    def forward(self, x: Tensor, copies: dict[str, Tensor] | None = None) -> Tensor:
        def z(name: str, h: Tensor) -> Tensor:
            made = getattr(self, name)(h)
            if copies is not None:
                copies[name] = made
                made.retain_grad()
                made = made * 1
            return made

        h = z("added", x)
        h += x
        h = z("used", h)
        before = h * 2  # this use keeps the view as it was before
        h.relu_()
        h = z("twice", h + before)
        h.mul_(0.5).tanh_()
        return z("out", h[:, -1])


def test_what_is_done_in_place_to_a_view_keeps_its_delta() -> None:
    model = seeded(InPlaceOnViews)
    with Recorder(model) as recorder:
        F.cross_entropy(model(X), Y).backward()
        recorder.step()
    made: dict[str, Tensor] = {}
    F.cross_entropy(model(X, made), Y).backward()
    for name, z in made.items():
        assert rows_of(recorder).loc[name, "delta_rms"] == pytest.approx(rms(z.grad), rel=1e-6), name
    assert rows_of(recorder)["slope_sq"].isna().all() and rows_of(recorder).loc["used", "zero_fraction"] > 0


def test_an_expert_that_gets_no_token_is_an_empty_row_and_no_error() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(8, 3)
            self.experts = nn.ModuleList(
                nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.ReLU()) for _ in range(3)
            )
            self.out = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            weight, choice = self.gate(x).softmax(-1).max(-1)
            h = torch.zeros_like(x)
            for i, expert in enumerate(self.experts):
                there = choice == i
                h[there] = weight[there, None] * expert(x[there])
            return self.out(h)

    model = seeded(Experts)
    with torch.no_grad():
        model.gate.bias[2] = -1e6
    x = X[:, 0]
    with Recorder(model, probe=x, metrics="full") as recorder:
        F.cross_entropy(model(x), Y).backward()
        recorder.step()
    row = rows_of(recorder).loc["experts.2.0"]
    assert row["weight_grad_norm"] == 0 and row["nonfinite"] == 0
    assert (
        row[["delta_rms", "zero_fraction", "batch_dead_fraction", "z_std", "slope_sq", "h_rms"]].isna().all()
    )
    assert (rows_of(recorder).loc[["experts.0.0", "experts.1.0"], "delta_rms"] > 0).all()


def test_an_activation_is_found_through_views_and_the_users_backward_hooks() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value, self.gate, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            value, gate = self.value(x), self.gate(x)
            return self.out(torch.relu(value.view(6, 2, 4)).flatten(1) * gate)

    for hooked in (False, True):
        model = seeded(Gated)
        if hooked:  # torch hands the model another tensor of the same memory then
            model.value.register_full_backward_hook(lambda *_: None)
        with Recorder(model, probe=X[:, 0]) as recorder:
            F.cross_entropy(model(X[:, 0]), Y).backward()
            recorder.step()
        assert rows_of(recorder)["slope_sq"].notna().tolist() == [True, False, False]
        z = model.value(X[:, 0])
        assert rows_of(recorder).loc["value", "slope_sq"] == pytest.approx(float((z > 0).double().mean()))


def test_derivatives_by_the_input_in_the_forward_pass() -> None:
    """Physics-informed nets and force fields: the loss is made of gradients, which the forward pass takes."""

    class Force(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 1)
            self.kept: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            x = x.detach().requires_grad_()
            one = self.one(x)
            two = self.two(torch.tanh(one))
            self.kept = [one, two]
            return torch.autograd.grad(two.sum(), x, create_graph=True)[0] + two

    model = seeded(Force)
    with Recorder(model) as recorder:
        model(X[:, 0]).square().mean().backward()
        recorder.step()
    loss = model(X[:, 0]).square().mean()
    one, two = torch.autograd.grad(loss, model.kept)
    assert rows_of(recorder).loc["one", "delta_rms"] == pytest.approx(rms(one), rel=1e-6)
    assert rows_of(recorder).loc["two", "delta_rms"] == pytest.approx(rms(two), rel=1e-6)


def test_a_wasserstein_gan_with_gradient_penalty_and_two_optimisers() -> None:
    """Three steps of the critic for one of the generator; the penalty's own backward pass is no loss."""
    g = seeded(nn.Sequential(nn.Linear(3, 8), nn.ReLU(True), nn.Linear(8, 8)))
    d = seeded(nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(0.2, inplace=True), nn.Linear(8, 1)))
    opt_g = torch.optim.RMSprop(g.parameters(), lr=0.01)
    opt_d = torch.optim.RMSprop(d.parameters(), lr=0.01)
    draw = torch.Generator().manual_seed(0)
    noise = lambda *shape: torch.randn(*shape, dtype=F64, generator=draw)  # noqa: E731
    real, expected_d, expected_g = noise(6, 8), [], []

    def critic(x: Tensor) -> tuple[Tensor, Tensor]:
        z = d[0](x)
        return d[2](F.leaky_relu(z, 0.2)), z

    with Recorder(g, schedule="all") as rec_g, Recorder(d, schedule="all") as rec_d:
        for _ in range(2):
            for _ in range(3):
                fake, mix = g(noise(6, 3)).detach(), torch.rand(6, 1, dtype=F64, generator=draw)
                between = (mix * real + (1 - mix) * fake).requires_grad_()

                def loss(call, real=real, fake=fake, between=between):  # type: ignore[no-untyped-def]
                    out, zs = [], []
                    for x in (fake, real, between):
                        y, z = call(x)
                        out.append(y)
                        zs.append(z)
                    (slope,) = torch.autograd.grad(out[2].sum(), between, create_graph=True)
                    return out[0].mean() - out[1].mean() + 10 * (slope.norm(dim=1) - 1).square().mean(), zs

                total, zs = loss(critic)
                found = torch.autograd.grad(total, zs, allow_unused=True)
                expected_d.append(
                    rms(torch.cat([torch.zeros_like(zs[0]) if f is None else f for f in found]))
                )
                opt_d.zero_grad()
                loss(lambda x: (d(x), None))[0].backward()
                rec_d.step(optimizer=opt_d)
                opt_d.step()
            z = noise(6, 3)
            first = g[0](z)
            expected_g.append(rms(torch.autograd.grad(-critic(g[2](torch.relu(first)))[0].mean(), first)[0]))
            opt_g.zero_grad()
            (-d(g(z)).mean()).backward()
            rec_g.step(optimizer=opt_g)
            opt_g.step()
    rows_d, rows_g = rec_d.to_frame().query("name == '0'"), rec_g.to_frame().query("name == '0'")
    assert (rows_d["batch"] == 18).all()
    np.testing.assert_allclose(rows_d["delta_rms"], expected_d, rtol=1e-6)
    np.testing.assert_allclose(rows_g["delta_rms"], expected_g, rtol=1e-6)


def test_a_part_of_a_larger_model_may_be_watched_alone() -> None:
    whole = seeded(
        nn.Sequential(nn.Linear(8, 6), nn.Sequential(nn.Linear(6, 6), nn.ReLU(True)), nn.Linear(6, 4))
    )
    with Recorder(whole[1]) as recorder:
        F.cross_entropy(whole(X[:, 0]), Y).backward()
        recorder.step()
    z = whole[1][0](whole[0](X[:, 0]))
    z.retain_grad()
    F.cross_entropy(whole[2](torch.relu(z)), Y).backward()
    assert [*rows_of(recorder).index] == ["0"]
    assert rows_of(recorder).loc["0", "delta_rms"] == pytest.approx(rms(z.grad), rel=1e-6)


class Marked(Tensor):
    """A subclass of the user's, which torch passes on from operation to operation."""


class Odd(nn.Module):
    """kind: what the first module hands on beside or instead of a plain tensor."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.first, self.out = kind, nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "subclass":
            return self.out(torch.relu(self.first(x.as_subclass(Marked)))).as_subclass(Tensor)
        if self.kind == "nested":
            parts = torch.nested.nested_tensor([*x], layout=torch.jagged)
            return self.out(torch.relu(self.first(parts)).to_padded_tensor(0.0))
        return self.out(F.relu(self.first(x)))


@pytest.mark.parametrize("kind", ["plain", "subclass", "nested", "anomaly", "deterministic"])
def test_whatever_the_tensors_are_the_loop_goes_on(kind: str) -> None:
    rows = []
    for each in ("plain", kind):
        torch.manual_seed(1)
        model = Odd(each).to(F64)
        torch.use_deterministic_algorithms(each == "deterministic")
        with torch.autograd.set_detect_anomaly(each == "anomaly"), Recorder(model, probe=X) as recorder:
            model(X).square().mean().backward()
            recorder.step()
        torch.use_deterministic_algorithms(False)
        rows.append(rows_of(recorder))
    if kind == "nested":  # no [batch, unit]: a row of gradients alone
        assert rows[1].loc["first", ["delta_rms", "z_std", "slope_sq"]].isna().all()
        rows = [each[["weight_grad_norm", "weight_norm"]].sort_index() for each in rows]
    pd.testing.assert_frame_equal(*rows, rtol=1e-12)


def test_a_module_that_returns_its_parameter() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(5, 8))

        def forward(self) -> Tensor:
            return self.weight

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions, self.out = Positions(), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out((x + self.positions()).mean(dim=1))

    model = seeded(Whole)
    with Recorder(model, probe=X) as recorder:
        F.cross_entropy(model(X), Y).backward()
        recorder.step()
    gradient = model.positions.weight.grad
    assert rows_of(recorder).loc["positions", "delta_rms"] == pytest.approx(rms(gradient), rel=1e-6)
    assert rows_of(recorder).loc["positions", "weight_grad_norm"] == pytest.approx(float(gradient.norm()))
    assert not model.positions.weight._backward_hooks


def test_the_accumulated_gradient_after_unscaling() -> None:
    """The whole recipe: autocast, a scaled loss in three parts, unscale_, clipping, a step."""
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
    x, optimizer = X[:, 0].float(), torch.optim.SGD(model.parameters(), lr=0.1)
    made: list[Tensor] = []
    with Recorder(model, accumulation=3) as recorder:
        for part in (slice(0, 2), slice(2, 4), slice(4, 6)):
            with torch.autocast("cpu", torch.bfloat16):
                handle = model[2].register_forward_hook(lambda m, a, z: (made.append(z), z.retain_grad())[1])
                loss = F.cross_entropy(model(x[part]).float(), Y[part]) / 3
                handle.remove()
            scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        recorder.step(optimizer=optimizer, scaler=scaler)
        total = nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        scaler.step(optimizer)
        scaler.update()
    rows = rows_of(recorder)
    norms = rows[["weight_grad_norm", "bias_grad_norm"]].pow(2).to_numpy().sum() ** 0.5
    assert norms == pytest.approx(float(total), rel=1e-5)
    expected = float((6 / 512 * torch.cat([z.grad.double() for z in made])).square().mean().sqrt())
    assert rows.loc["2", "delta_rms"] == pytest.approx(expected, rel=1e-6)
    assert (rows["batch"] == 6).all() and (rows["update_ratio"] < 1e-3).all()
