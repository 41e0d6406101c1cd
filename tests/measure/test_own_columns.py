"""Columns of the user's own, `--metrics standard,mymetrics:kurtosis`: beside what a run and a Recorder write anyway.

What they say is compared with the same function of activations that were computed independently; whatever they do
wrong is one line that names them, and what is recorded beside them does not notice.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from reference import stacks
from torch import nn

from gradlab import Recorder
from gradlab.base.errors import ConfigError, DataError
from gradlab.cli.main import main
from gradlab.sensors import metrics, own_columns
from gradlab.store.results import read_folder
from gradlab.tables.layers import LAYERS
from gradlab.train.loop import build_stack

MODULE = """
import sys
import torch

def kurtosis(h):
    centred = h - h.mean()
    return centred.pow(4).mean() / centred.pow(2).mean() ** 2
def above(h, bound=0.0):
    return float((h > bound).double().mean())
def shape(h):
    assert h.dim() == 2
    return h.shape[0] * 1000 + h.shape[1]
def writes(h):
    torch.rand(3)
    return torch.relu(h.zero_()).sum()
def talks(h):
    print("hello from the column")
    return 1.5
def raises(h):
    raise ArithmeticError("not today")
def quits(h):
    sys.exit(7)
def each_unit(h):
    return h.mean(dim=0)
def needs_many(h):
    assert len(h) < 10
    return 0
def huge(h):
    return 10**400
def word(h):
    return "large"
def h_rms(h):
    return 0.0
def depth(h):
    return 0.0
def batch_size(h):
    return 0.0
not_a_function = 3
"""

TINY = ("--activation", "tanh", "--depth", "3", "--width", "5", "--steps", "2", "--seeds", "2", "--batch-size", "8",
        "--probe", "16", "--record", "all", "--data", stacks.SMALL, "--quiet")  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "own_metrics.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("own_metrics", None)


def kurtosis(h: np.ndarray) -> float:
    centred = h - h.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


@pytest.mark.parametrize("flags", [{}, {"norm": "layer"}, {"activation": "relu"}], ids=str)
def test_each_layer_of_each_seed_by_itself(flags: dict[str, object]) -> None:
    """Of step 0, where the nets are those that the seeds draw; beside a plain stack one with norms, in hooks."""
    text = "standard,own_metrics:kurtosis,own_metrics:above:bound=0.1,own_metrics:shape"
    stack = stacks.make_stack(**flags, metrics=text, steps=0, seeds=3)
    result = stacks.train(**flags, metrics=text, steps=0, seeds=3)
    block = result.layers
    data = stack.cell.dataset()
    mlp = build_stack(stack, data)
    h: list[torch.Tensor] = []
    handles = [
        layer.activation.register_forward_hook(lambda m, a, out: h.append(out)) for layer in mlp.layers
    ]
    probe = torch.as_tensor(data.x_train[:16], dtype=torch.float64)
    with torch.no_grad(), mlp.evaluating():
        mlp(probe.expand(3, -1, -1))
    for handle in handles:
        handle.remove()
    assert len(h) == 3
    for layer, values in enumerate(h):
        for replica, each in enumerate(values.double().numpy()):
            at = (replica, 0, layer)
            assert block.column("kurtosis")[at] == pytest.approx(kurtosis(each), rel=1e-12)
            assert block.column("above")[at] == (each > 0.1).mean()
            assert block.column("shape")[at] == 16 * 1000 + 5
    assert np.isnan(block.column("kurtosis")[:, :, -1]).all()  # the readout has no activation
    assert len(set(block.column("kurtosis")[:, 0, 0])) == 3


def test_nothing_else_notices_them() -> None:
    plain, beside = stacks.train(), stacks.train(metrics="standard,own_metrics:writes")
    for name in LAYERS.recorded:
        np.testing.assert_array_equal(plain.layers.column(name), beside.layers.column(name))
    np.testing.assert_array_equal(plain.blocks["steps"].values, beside.blocks["steps"].values)
    assert (beside.layers.column("writes")[:, :, :-1] == 0).all()
    state, h = torch.get_rng_state(), torch.ones(2, 3, 4)
    assert metrics.users(own_columns.get("own_metrics:writes").own, h) == {"writes": [0, 0]}
    assert torch.equal(torch.get_rng_state(), state) and (h == 1).all()


@pytest.mark.slow
def test_a_run_writes_them_and_every_command_reads_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--metrics", "own_metrics:kurtosis,full", "--out", "o", "--json")
    assert main(["run", *TINY, *asked]) == 0
    first = pd.read_csv("o/layers.csv")
    assert {"kurtosis", "h_p95_abs"} < {*first.columns}
    hidden = first[first.name != "output"]
    assert hidden["kurtosis"].notna().all() and (hidden["kurtosis"] > 1).all()
    assert first[first.name == "output"]["kurtosis"].isna().all()
    assert "standard,own" not in Path("o/config.toml").read_text()
    capsys.readouterr()
    for command in (
        ["report", "o", "--format", "md,svg"],
        ["diagnose", "o", "--json"],
        ["run", *TINY, *asked],
    ):
        assert main(command) == 0, command
    assert read_folder(Path("o")).layers["kurtosis"].equals(first["kurtosis"])


def test_what_it_prints_is_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *TINY, "--metrics", "standard,own_metrics:talks", "--out", "o", "--json"]) == 0
    printed = capsys.readouterr()
    json.loads(printed.out)
    assert "hello from the column" in printed.err
    assert pd.read_csv("o/layers.csv").talks.dropna().eq(1.5).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ful",
            "unknown metrics 'ful' allowed: standard, full, package.module:Attr hint: did you mean 'full'?",
        ),
        ("standard,full", "standard and full together"),
        ("standard,own_metrics:none", "no attribute 'none'"),
        ("standard,own_metrics:not_a_function", "cannot be called"),
        ("standard,nowhere:kurtosis", "cannot import 'nowhere'"),
        ("standard,own_metrics:h_rms", "there is a column 'h_rms' already"),
        ("standard,own_metrics:depth", "there is a column 'depth' already"),
        ("standard,own_metrics:kurtosis,own_metrics:kurtosis", "there is a column 'kurtosis' already"),
        ("standard,own_metrics:", "neither NAME:key=value nor package.module:Attr"),
        ("standard,", "unknown metrics ''"),
    ],
)
def test_mistakes_are_known_when_planning(
    text: str, message: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    assert main(["run", *TINY, "--metrics", text, "--out", "o"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert message in told and "--metrics" in told
    assert not (here / "o").exists()
    with pytest.raises(ConfigError, match="metrics"):
        Recorder(nn.Linear(2, 2), metrics=text)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raises", "own_metrics:raises failed: ArithmeticError: not today"),
        ("quits", "own_metrics:quits failed"),
        ("each_unit", "own_metrics:each_unit gave a tensor [5] for a layer's h allowed: one number"),
        ("word", "own_metrics:word gave str for a layer's h"),
        ("huge", "own_metrics:huge failed: OverflowError"),
    ],
)
def test_one_that_fails_is_told_when_planning(
    name: str, reason: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    assert main(["run", *TINY, "--metrics", f"standard,own_metrics:{name}", "--out", "o"]) == 2
    assert reason in " ".join(capsys.readouterr().err.split())
    assert not (here / "o").exists()


def test_one_that_fails_later_ends_the_run_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *TINY, "--metrics", "standard,own_metrics:needs_many", "--out", "o"]) == 1
    assert "--metrics: own_metrics:needs_many failed: AssertionError" in capsys.readouterr().err


def test_its_source_is_part_of_the_cell_and_a_change_is_told(here: Path) -> None:
    text = "standard,own_metrics:kurtosis"
    stack = stacks.make_stack(metrics=text)
    assert stack.cell.id != stacks.make_stack().cell.id
    stack.check_sources()
    (here / "own_metrics.py").write_text(MODULE + "\n# changed\n")
    with pytest.raises(DataError, match="has changed since this was planned"):
        stack.check_sources()
    sys.modules.pop("own_metrics")
    assert stacks.make_stack(metrics=text).cell.id != stack.cell.id


def conv() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 16, 7), nn.Tanh(), nn.Linear(7, 2)
    )


def test_the_recorder_writes_them_for_any_model_with_channels_as_units() -> None:
    model, x, y = conv(), torch.randn(9, 1, 6, 6), torch.randint(2, (9,))
    text = "standard,own_metrics:kurtosis,own_metrics:shape"
    with torch.no_grad():
        maps, features = model[:2](x), model[:5](x)
    with Recorder(model, probe=x, metrics=text, schedule="all") as recorder:
        nn.functional.cross_entropy(model(x), y).backward()
        recorder.step()
    rows = recorder.to_frame().set_index("layer")
    assert rows["shape"].tolist()[:2] == [9 * 16 * 1000 + 3, 9 * 1000 + 7] and np.isnan(rows["shape"][3])
    assert rows["kurtosis"][1] == pytest.approx(kurtosis(maps.double().numpy()), rel=1e-5)
    assert rows["kurtosis"][2] == pytest.approx(kurtosis(features.double().numpy()), rel=1e-5)


def test_the_recorder_does_not_take_a_columns_activations_for_the_models() -> None:
    tables = []
    for text in ("standard", "standard,own_metrics:writes"):
        model, x, y = conv(), torch.linspace(-1, 1, 324).view(9, 1, 6, 6), torch.arange(9) % 2
        with Recorder(model, probe=x, metrics=text, schedule="all") as recorder:
            nn.functional.cross_entropy(model(x), y).backward()
            recorder.step()
        tables.append(recorder.to_frame())
    assert tables[1]["writes"].tolist()[:2] == [0, 0]
    pd.testing.assert_frame_equal(tables[0], tables[1].drop(columns="writes"))


def test_a_name_that_a_grid_may_need_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *TINY, "--metrics", "standard,own_metrics:batch_size"]) == 2
    assert "there is a column 'batch_size' already" in capsys.readouterr().err


def test_the_recorder_and_the_stack_say_the_same() -> None:
    """A stack recorded from outside: the replica axis is its own."""
    text = "standard,own_metrics:kurtosis"
    stack = stacks.make_stack(metrics=text)
    data = stack.cell.dataset()
    mlp = build_stack(stack, data)
    probe = torch.as_tensor(data.x_train[:16], dtype=torch.float64).expand(2, -1, -1)
    with Recorder(mlp, probe=probe, metrics=text) as recorder:
        mlp(probe).square().mean().backward()
        recorder.step()
    table = recorder.to_frame()
    own = stacks.train(metrics=text).layers.column("kurtosis")[:, 0, :-1]
    found = table[table.name.isin(table.dropna(subset="kurtosis").name)]["kurtosis"].to_numpy().reshape(2, -1)
    np.testing.assert_allclose(found, own, rtol=1e-12)


def test_the_norms_alone_have_none() -> None:
    with pytest.raises(ConfigError, match="looks at no activations"):
        Recorder(conv(), metrics="gradients,own_metrics:kurtosis")


def test_watch_writes_them_too(here: Path) -> None:
    (here / "own_net.py").write_text(
        "from torch import nn\n"
        "def make(features, classes):\n"
        "    return nn.Sequential(nn.Linear(features, 6), nn.Tanh(), nn.Linear(6, classes))\n"
    )
    common = ["watch", "own_net:make", "--data", stacks.SMALL, "--steps", "2", "--seeds", "1", "--quiet"]
    assert main([*common, "--metrics", "standard,own_metrics:kurtosis", "--out", "o"]) == 0
    assert pd.read_csv("o/layers.csv")["kurtosis"].notna().any()
    assert main([*common, "--metrics", "standard,own_metrics:raises", "--out", "p"]) == 2
    assert not (here / "p" / "layers.csv").exists()
