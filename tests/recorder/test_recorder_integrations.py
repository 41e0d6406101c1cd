"""Where users live: each integration with the real package, skipped where it is not installed."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from reference import stacks
from torch import nn

from gradlab.base.errors import ConfigError
from gradlab.recorder.recorder import Recorder
from gradlab.train.loop import build_stack

X = torch.randn(12, 8, generator=torch.Generator().manual_seed(7))
Y = torch.arange(12) % 4


def net() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def plain(steps: int, accumulate: int = 1) -> tuple[pd.DataFrame, torch.Tensor]:
    """The rows of a loop of the user's own: SGD over batches of 4 in order."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, probe=X, schedule="all", accumulation=accumulate) as recorder:
        for step in range(steps):
            optimizer.zero_grad()
            for part in range(accumulate):
                at = 4 * ((step * accumulate + part) % 3)
                (F.cross_entropy(model(X[at : at + 4]), Y[at : at + 4]) / accumulate).backward()
            recorder.step(optimizer=optimizer)
            optimizer.step()
    return recorder.to_frame(), torch.cat([p.detach().ravel() for p in model.parameters()])


def logged(log_to: object, steps: int = 2) -> pd.DataFrame:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, schedule="all", log_to=log_to) as recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(X), Y).backward()
            recorder.step(optimizer=optimizer)
            optimizer.step()
    return recorder.to_frame()


def test_any_function_takes_the_records_as_they_come() -> None:
    taken = {}
    rows = logged(lambda step, numbers: taken.update({step: numbers}))
    assert [*taken] == [0, 1]
    for row in rows.itertuples():
        assert taken[row.step][f"gradlab/delta_rms/{row.name}"] == row.delta_rms
        assert taken[row.step][f"gradlab/update_ratio/{row.name}"] == row.update_ratio
    with pytest.raises(ConfigError, match="nothing to log to"):
        Recorder(net(), log_to=3)


@pytest.mark.slow
def test_tensorboard(tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("tensorboard", reason="needs the extra `integrations`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        rows = logged(writer)
    events = EventAccumulator(str(tmp_path)).Reload()
    values = [event.value for event in events.Scalars("gradlab/delta_rms/0")]
    np.testing.assert_allclose(values, rows.query("name == '0'")["delta_rms"], rtol=1e-6)


@pytest.mark.slow
def test_wandb_offline(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    wandb = pytest.importorskip("wandb", reason="needs the extra `integrations`")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(mode="offline", dir=str(tmp_path), project="gradlab")
    seen = []
    log = run.log
    monkeypatch.setattr(run, "log", lambda numbers: (seen.append(numbers), log(numbers)))
    rows = logged(run)
    summary = dict(run.summary)
    run.finish()
    assert [each["gradlab/step"] for each in seen] == [0, 1]
    assert summary["gradlab/delta_rms/2"] == pytest.approx(rows["delta_rms"].iloc[-1])


@pytest.mark.slow
@pytest.mark.parametrize("target", ["module", "run"])
def test_mlflow(target: str, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    mlflow = pytest.importorskip("mlflow", reason="needs the extra `integrations`")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}")
    mlflow.set_experiment("gradlab")
    with mlflow.start_run() as run:
        rows = logged(mlflow if target == "module" else run)
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "gradlab/delta_rms/0")
    assert [(each.step, each.value) for each in history] == [
        (row.step, pytest.approx(row.delta_rms)) for row in rows.query("name == '0'").itertuples()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
def test_lightning(whole: bool, tmp_path) -> None:  # type: ignore[no-untyped-def]
    lightning = pytest.importorskip("lightning", reason="needs the extra `lightning`")
    from gradlab.integrations.lightning import RecorderCallback

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            x, y = batch
            return F.cross_entropy(self(x) if whole else self.net(x), y)

        def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
            self(batch[0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=4)
    for accumulate in (1, 3):
        callback = RecorderCallback(probe=X, schedule="all", out=tmp_path / "layers.csv")
        module = Module()
        trainer = lightning.Trainer(
            max_epochs=6 // accumulate, accumulate_grad_batches=accumulate, callbacks=[callback], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        )  # fmt: skip
        trainer.fit(module, data, data)
        rows = callback.recorder.to_frame()
        expected, weights = plain(trainer.global_step, accumulate)
        assert {*rows["name"]} == {"net.0", "net.2"}
        # of parts that are called by themselves no graph is read
        apart = ["name"] if whole else ["name", "delta_rms_predicted", "delta_rms_band"]
        pd.testing.assert_frame_equal(
            rows.drop(columns=apart), expected.drop(columns=apart), rtol=1e-6, check_dtype=False
        )
        assert torch.equal(torch.cat([p.detach().ravel() for p in module.parameters()]), weights)
        assert not any(m._forward_hooks for m in module.modules()) and (tmp_path / "layers.csv").exists()


@pytest.mark.slow
def test_hugging_faces_trainer(tmp_path) -> None:  # type: ignore[no-untyped-def]
    transformers = pytest.importorskip("transformers", reason="needs the extra `integrations`")
    pytest.importorskip("accelerate", reason="needs the extra `integrations`")
    from gradlab.integrations.transformers import RecorderCallback

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.net(x)
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    callback = RecorderCallback(probe={"x": X, "labels": Y}, schedule="all")
    arguments = transformers.TrainingArguments(
        str(tmp_path), per_device_train_batch_size=4, max_steps=5, learning_rate=0.1, optim="sgd", report_to=[],
        lr_scheduler_type="constant", use_cpu=True, save_strategy="no", logging_strategy="no", max_grad_norm=0.0,
        disable_tqdm=True,
    )  # fmt: skip
    data = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *_: object):  # type: ignore[no-untyped-def]
            return torch.utils.data.SequentialSampler(data)

    model = Model()
    InOrder(model, arguments, train_dataset=data, callbacks=[callback]).train()
    expected, weights = plain(5)
    rows = callback.recorder.to_frame()
    pd.testing.assert_frame_equal(
        rows.drop(columns="name"), expected.drop(columns="name"), rtol=1e-5, check_dtype=False
    )
    torch.testing.assert_close(torch.cat([p.detach().ravel() for p in model.parameters()]), weights)


@pytest.mark.slow
def test_a_model_of_hugging_face(tmp_path) -> None:  # type: ignore[no-untyped-def]
    transformers = pytest.importorskip("transformers", reason="needs the extra `integrations`")
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=20, n_positions=12)
    model = transformers.GPT2LMHeadModel(config)
    tokens = torch.randint(0, 20, (3, 12))
    with Recorder(model, probe={"input_ids": tokens}) as recorder:
        model(input_ids=tokens, labels=tokens).loss.backward()
        recorder.step()
    rows = recorder.to_frame().set_index("name")
    assert (
        rows.loc[["transformer.h.0.attn.c_attn", "transformer.h.1.mlp.c_fc", "lm_head"], "delta_rms"] > 0
    ).all()
    assert rows.loc["transformer.h.0.mlp.c_proj", "weight_grad_norm"] > 0


def test_of_several_replicas_their_mean_is_logged() -> None:
    stack = stacks.make_stack(seeds=3)
    mlp = build_stack(stack, stack.cell.dataset())
    taken: dict[int, dict[str, float]] = {}
    with Recorder(
        mlp, schedule="all", log_to=lambda step, numbers: taken.update({step: numbers})
    ) as recorder:
        x = torch.randn(4, mlp.linears[0].weight.shape[1], dtype=mlp.linears[0].weight.dtype)
        mlp(x.expand(3, -1, -1)).square().sum().backward()
        recorder.step()
    rows = recorder.to_frame()
    means = rows.groupby("name")["delta_rms"].mean()
    assert rows.groupby("name")["delta_rms"].nunique().min() == 3
    for name, mean in means.items():
        assert taken[0][f"gradlab/delta_rms/{name}"] == pytest.approx(mean, rel=1e-12)
