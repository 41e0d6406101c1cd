"""Models that the recorder was not written for: every number beside plain autograd's, in float64."""

import numpy as np
import pandas as pd
import pytest
import torch
from recorder_styles import STYLES, Phi, Style, make_style
from torch import Tensor, nn

from gradlab.recorder.recorder import Recorder
from gradlab.recorder.units import tensors

CLOSE = 1e-6
PARAMETERS = (
    "weight_grad_norm",
    "bias_grad_norm",
    "weight_grad_mean_abs",
    "grad_zero_fraction",
    "weight_norm",
)


def outputs_of(model: nn.Module, call) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
    """The first tensor of every call of a module with parameters. What follows works on a copy of it, so that an
    in-place activation leaves it as it was."""
    made: dict[str, Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        if not list(module.parameters(recurse=False)):
            continue

        def keep(module: nn.Module, args: object, out: object, name: str = name) -> object:
            z = tensors(out)[0]
            count = sum(each.split("#")[0] == (name or "(model)") for each in made) + 1
            made[(name or "(model)") + (f"#{count}" if count > 1 else "")] = z
            if z.requires_grad:
                z.retain_grad()
            return z.clone() if isinstance(out, Tensor) else None

        handles.append(module.register_forward_hook(keep))
    made["root"] = call(model)
    for handle in handles:
        handle.remove()
    return made


def activation_columns(z: Tensor, phi: Phi, axis: int) -> dict[str, float]:
    z = z.detach().requires_grad_()
    h = phi.apply(z * 1)
    (slope,) = torch.autograd.grad(h.sum(), z)
    flat = phi.flat(z) if phi.flat is not None else torch.zeros_like(z, dtype=torch.bool)
    active = (~flat).movedim(axis, -1).reshape(-1, z.shape[axis]).double().mean(dim=0)
    return {
        "zero_fraction": (h == 0).double().mean().item(),
        "batch_dead_fraction": (active == 0).double().mean().item(),
        "h_mean": h.mean().item(),
        "h_rms": h.square().mean().sqrt().item(),
        "slope_sq": slope.square().mean().item(),
        "saturated_fraction": (slope.abs() < 0.05 * phi.steepest).double().mean().item(),
        "dead_fraction": (active == 0).double().mean().item(),
        "low_activity_fraction": (active < 0.01).double().mean().item(),
    }


ACTIVATION_COLUMNS = ("zero_fraction", "batch_dead_fraction", "h_mean", "h_rms", "slope_sq", "saturated_fraction",
                      "dead_fraction", "low_activity_fraction")  # fmt: skip
BATCH_COLUMNS = ("zero_fraction", "batch_dead_fraction")


def expected_rows(style: Style) -> dict[str, dict[str, float]]:
    """What plain autograd says about the style's first step and its update by Adam."""
    model = style.model
    made = outputs_of(model, style.run)
    made.pop("root").backward()
    rows: dict[str, dict[str, float]] = {}
    for name, z in made.items():
        row = rows.setdefault(name, {})
        if z.grad is not None:
            row["delta_rms"] = (style.batch * z.grad).square().mean().sqrt().item()
        if name in style.activations:
            found = activation_columns(z, style.activations[name], style.axis.get(name, -1))
            row |= {column: found[column] for column in BATCH_COLUMNS}
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)  # which calls no module and makes nested tensors
    with torch.no_grad():
        probed = outputs_of(model, lambda m: _run(m, style.probe))
    torch.backends.mha.set_fastpath_enabled(True)
    before = {parameter: parameter.detach().clone() for parameter in model.parameters()}
    torch.optim.Adam(model.parameters(), lr=0.01).step()
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        weights = [p for each, p in own.items() if "bias" not in each and each != "shift"]
        biases = [p for each, p in own.items() if "bias" in each or each == "shift"]
        row = rows.setdefault(name or "(model)", {}) if own else {}
        if weights:
            gradient = torch.cat([p.grad.ravel() for p in weights])
            size = torch.cat([before[p].ravel() for p in weights])
            now = torch.cat([p.ravel() for p in weights])
            row["weight_grad_norm"] = gradient.square().sum().sqrt().item()
            row["weight_grad_mean_abs"] = gradient.abs().mean().item()
            row["grad_zero_fraction"] = (gradient == 0).double().mean().item()
            row["weight_norm"] = size.square().sum().sqrt().item()
            row["update_ratio"] = ((now - size).square().sum() / size.square().sum()).sqrt().item()
        if biases:
            row["bias_grad_norm"] = torch.cat([p.grad.ravel() for p in biases]).square().sum().sqrt().item()
    for name, z in probed.items():
        if name == "root":
            continue
        rows[name] |= {"z_mean": z.mean().item(), "z_std": z.std(correction=0).item()}
        if name in style.activations:
            with torch.enable_grad():
                found = activation_columns(z, style.activations[name], style.axis.get(name, -1))
            rows[name] |= {column: value for column, value in found.items() if column not in BATCH_COLUMNS}
    return rows


def _run(model: nn.Module, probe: object) -> object:
    if isinstance(probe, dict):
        return model(**probe)
    return model(*probe) if isinstance(probe, tuple) else model(probe)


def recorded_rows(style: Style) -> pd.DataFrame:
    optimizer = torch.optim.Adam(style.model.parameters(), lr=0.01)
    with Recorder(style.model, probe=style.probe, batch_dim=style.batch_dim) as recorder:
        style.run(style.model).backward()
        recorder.step(optimizer=optimizer)
        optimizer.step()
    return recorder.to_frame().set_index("name")


COLUMNS = ("delta_rms", *PARAMETERS, "update_ratio", "z_mean", "z_std", *ACTIVATION_COLUMNS)  # fmt: skip


@pytest.mark.parametrize("name", STYLES)
def test_every_number_is_plain_autograds(name: str) -> None:
    rows, expected = recorded_rows(make_style(name)), expected_rows(make_style(name))
    assert {*rows.index} == {*expected}
    style = make_style(name)
    seen = [each for each in expected if each not in style.unseen]
    assert (rows.loc[seen, "delta_rms"] > 0).all() and (rows.loc[seen, "batch"] == style.batch).all()
    for row, columns in expected.items():
        for column in COLUMNS:
            measured = rows.loc[row, column]
            if row in style.between and column in ACTIVATION_COLUMNS:
                assert not np.isnan(measured), (row, column)
            elif column not in columns:
                assert np.isnan(measured), (row, column, measured)
            else:
                tiny = 1e-14 if column in ("z_mean", "h_mean", "bias_grad_norm") else 0.0
                assert measured == pytest.approx(columns[column], rel=CLOSE, abs=tiny), (row, column)
    assert (rows.loc[seen, "nonfinite"] == 0).all()
