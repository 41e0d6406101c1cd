"""Singular values of Jacobians against explicit products, finite differences and what theory states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from reference.stacks import make_stack

from gradlab import activations
from gradlab.config import plan, resolve, to_toml
from gradlab.lab.experiment import execute
from gradlab.lab.predict import predict
from gradlab.nn.mlp import StackedMLP, build_mlp
from gradlab.parts import inits, norms, residuals
from gradlab.sensors.extra.jacobian import (
    JACOBIAN,
    SAMPLES,
    jacobian,
    jacobian_record,
    layer_maps,
    singular_values,
    statistics,
)
from gradlab.train.loop import Training


def net(
    activation="tanh",
    init="he",
    norm="none",
    residual="none",
    depth=5,
    width=7,
    features=6,
    seeds=2,
    outputs=4,
):  # type: ignore[no-untyped-def]
    phi = activations.get(activation)
    return build_mlp(
        activation=phi,
        init=inits.get(init, phi),
        norm=norms.get(norm),
        residual=residuals.get(residual, depth),
        depth=depth,
        width=width,
        features=features,
        outputs=outputs,
        seeds=range(seeds),
        dtype=torch.float64,
    )


def inputs(rows: int, features: int = 6) -> torch.Tensor:
    return torch.randn(rows, features, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def column(record: torch.Tensor, name: str) -> np.ndarray:
    return record[..., JACOBIAN.measured.index(name)].T.numpy()


def finite_differences(mlp: StackedMLP, x: torch.Tensor, step: float = 1e-6) -> torch.Tensor:
    """d logits / d x of a net in eval mode, [replica, row, out, in], by central differences."""
    replicas = mlp.readout.weight.shape[0]
    columns = []
    with torch.no_grad():
        for feature in range(x.shape[1]):
            shift = torch.zeros_like(x)
            shift[:, feature] = step
            up, down = (mlp((x + s).expand(replicas, -1, -1)) for s in (shift, -shift))
            columns.append((up - down) / (2 * step))
    return torch.stack(columns, dim=-1)


def test_the_orthogonal_linear_net_is_an_isometry() -> None:
    """Dynamical isometry: every singular value of every layer and of the whole is the gain, 1, in float32 too."""
    mlp = net("linear", "orthogonal", depth=12, width=32, features=32, outputs=32).float()
    record = jacobian_record(mlp, torch.randn(4, 32))
    for name in (
        "singular_min",
        "singular_mean",
        "singular_max",
        "singular_p05",
        "singular_sq_mean",
        "condition",
    ):
        np.testing.assert_allclose(column(record, name), 1, atol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "gelu"])
def test_every_statistic_against_the_explicit_product(activation: str) -> None:
    """J_l = diag(phi'(z_l)) W_l, one sample at a time, in NumPy."""
    mlp, x = net(activation, "torch"), inputs(3)
    record = jacobian_record(mlp, x)
    phi = activations.get(activation)
    for replica in range(2):
        found: list[list[np.ndarray]] = [[] for _ in range(6)]
        for row in x.numpy():
            h, product = row, np.eye(6)
            for layer, linear in enumerate(mlp.linears):
                weight = linear.weight[replica].detach().numpy().T
                z = weight @ h + linear.bias[replica, 0].detach().numpy()
                own = weight if layer == 5 else phi.slope(z)[:, None] * weight
                product = own @ product
                if layer < 5:
                    found[layer + 1].append(np.linalg.svd(own, compute_uv=False))
                h = phi.phi(z)
            found[0].append(np.linalg.svd(product, compute_uv=False))
        for place, samples in enumerate(found):
            values = np.array(samples)
            values[values < 1e-14 * values.max()] = 0
            with np.errstate(divide="ignore"):
                condition = np.sort(values[:, 0] / values[:, -1])[1]
            expected = [values.mean(), values.min(), values.max()]
            expected += [np.quantile(values, share) for share in (0.05, 0.25, 0.5, 0.75, 0.95)]
            expected += [(values**2).mean(), condition]
            np.testing.assert_allclose(record[replica, place], expected, rtol=1e-9)


SCHEMES = ["none", "post:block=2", "pre:block=2", "pre", "scaled", "rezero", "skipinit", "fixup:block=2"]


@pytest.mark.parametrize("residual", SCHEMES)
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "rms:position=post"])
def test_the_chain_of_the_layers_is_the_net_as_finite_differences_see_it(norm: str, residual: str) -> None:
    """The maps of layers and blocks, multiplied up, and what is left above them, give d logits / d x."""
    mlp, x = net(norm=norm, residual=residual), inputs(2)
    with torch.no_grad():  # statistics and factors as after some training
        for name, value in [*mlp.named_parameters(), *mlp.named_buffers()]:
            if "scale" in name or "running" in name:
                value.add_(0.3)
    mlp.eval()
    expected = finite_differences(mlp, x)
    np.testing.assert_allclose(jacobian(mlp, x.expand(2, -1, -1)).detach(), expected, atol=1e-7, rtol=1e-5)
    product = torch.eye(6, dtype=torch.float64)
    for layer, (function, at) in zip(mlp.layers, layer_maps(mlp, x.expand(2, -1, -1)), strict=True):
        if layer.skip.stem or layer.skip.ends or residual == "none":
            product = jacobian(function, at) @ product
            out = function(at)
    top = mlp.layers[-1]

    def above(state: torch.Tensor) -> torch.Tensor:
        summed = residual.partition(":")[0] in ("pre", "scaled", "skipinit", "fixup")
        h = top.norm_after(top.activation(top.norm_before(state))) if summed else state
        return mlp.readout(h)  # type: ignore[no-any-return]

    np.testing.assert_allclose((jacobian(above, out) @ product).detach(), expected, atol=1e-7, rtol=1e-5)


def test_a_sample_that_is_not_finite_is_nan_and_zero_is_exactly_zero() -> None:
    matrices = torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    matrices[0, 0] = torch.diag(torch.tensor([2.0, 1.0, 1e-30]))
    matrices[0, 1, 0, 0] = torch.inf
    values = singular_values(matrices)
    assert values[0, 0].tolist() == [2, 1, 0] and values[0, 1].isnan().all()


@pytest.mark.parametrize(
    ("activation", "init", "norm"),
    [
        ("linear", "lecun", "none"),
        ("tanh", "torch", "none"),
        ("relu", "he", "layer"),
        ("tanh", "orthogonal", "none"),
    ],
)
def test_mean_squares_at_the_start_are_what_mean_field_states(activation: str, init: str, norm: str) -> None:
    """4 standard errors over 8 seeds, and 3 / width a layer for the first order (a norm projects 2 / width out)."""
    flags = {"activation": activation, "init": init, "norm": norm, "depth": 5, "width": 128}
    stack = make_stack(**flags, steps=0, seeds=8, data="digits", sets=["recording.jacobian=true"])
    dataset = stack.cell.dataset()
    result = Training(stack, dataset).run(None, None)
    predict(stack, result, dataset)
    predicted = result.blocks["jacobian"].column("singular_sq_mean_predicted")[0, 0]
    measured = result.blocks["jacobian"].column("singular_sq_mean")[:, 0].T
    noise = measured.std(axis=1, ddof=1) / np.sqrt(8)
    layers = np.array([6, 1, 1, 1, 1, 1])  # that each row passes
    assert np.all(np.abs(measured.mean(axis=1) - predicted) < 4 * noise + 3 / 128 * layers * predicted)
    assert np.all(noise < 0.1 * predicted), "or the comparison says nothing"


@pytest.mark.parametrize("extra", [{"norm": "batch"}, {"residual": "post"}, {"activation": "softmax"}])
def test_where_the_literature_has_none_nothing_is_predicted(extra: dict[str, str]) -> None:
    stack = make_stack(**extra, steps=0, sets=["recording.jacobian=true"])
    dataset = stack.cell.dataset()
    result = Training(stack, dataset).run(None, None)
    predict(stack, result, dataset)
    assert np.isfinite(result.blocks["jacobian"].values).any()
    assert np.isnan(result.blocks["jacobian"].column("singular_sq_mean_predicted")).all()


def request(out: Path, **flags: object):  # type: ignore[no-untyped-def]
    small = {"activation": "relu", "depth": 3, "width": 8, "steps": 4, "record": "every:2", "seeds": 2}
    return resolve(flags={**small, "out": str(out), **flags})


def test_the_table_is_written_where_it_is_asked_for_and_only_there(tmp_path: Path) -> None:
    outcome = execute(plan.make(request(tmp_path / "with", jacobian=True, tables="both")))
    assert {"jacobian.csv", "jacobian.parquet"} <= {file.name for file in outcome.files}
    table = outcome.table("jacobian")
    assert table is not None and len(table) == 2 * 3 * 4  # seeds, records, the whole net and three layers
    assert list(table["name"][:4]) == ["input_output", "hidden_1", "hidden_2", "hidden_3"]
    assert set(table["samples"]) == {SAMPLES} and set(table["step"]) == {0, 2, 4}
    first = table["step"] == 0
    assert table.loc[first, "singular_sq_mean_predicted"].notna().all()
    assert table.loc[~first, "singular_sq_mean_predicted"].isna().all()
    again = execute(plan.make(request(tmp_path / "with", jacobian=True, tables="both")))
    assert again.cached and again.table("jacobian") is not None and again.table("jacobian").equals(table)

    plain = execute(plan.make(request(tmp_path / "without", tables="both")))
    assert plain.table("jacobian") is None and not any("jacobian" in file.name for file in plain.files)
    for name in ("layers.csv", "steps.csv", "summary.csv"):
        assert (plain.out / name).read_bytes() == (outcome.out / name).read_bytes()


def test_a_run_without_jacobians_keeps_its_identity(tmp_path: Path) -> None:
    plain, asked = request(tmp_path), request(tmp_path, jacobian=True)
    assert "jacobian" not in plain.base.recording.differing()
    assert "jacobian = false" in to_toml(plain.base) and "jacobian = true" in to_toml(asked.base)
    assert plan.make(plain).id != plan.make(asked).id
    assert plan.make(plain).cells[0].id == plan.make(asked).cells[0].id


def test_a_condition_number_of_an_even_sample_is_one_of_them() -> None:
    """The upper of the two in the middle: between 2 and an infinite one there is none."""
    values = torch.tensor([[[8.0, 4.0], [6.0, 2.0], [5.0, 1.0], [7.0, 0.0]]], dtype=torch.float64)
    assert column(statistics(values)[:, None], "condition").item() == 5.0
    assert column(statistics(values[:, [0, 3]])[:, None], "condition").item() == np.inf
    assert column(statistics(torch.zeros(1, 2, 3))[:, None], "condition").item() == np.inf, "a map to nothing"
