"""The callback for Hugging Face's Trainer, in trainings by the Trainer itself."""

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

transformers = pytest.importorskip("transformers", reason="needs the extra `integrations`")
accelerate = pytest.importorskip("accelerate", reason="needs the extra `integrations`")

from gradlab.integrations.transformers import RecorderCallback  # noqa: E402
from gradlab.recorder.recorder import Recorder  # noqa: E402

pytestmark = pytest.mark.slow

X = torch.randn(12, 8, generator=torch.Generator().manual_seed(7))
Y = torch.arange(12) % 4
DATA = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
NEW_HERE = [
    "deaths",
    "revivals",
    "carried_gradients",
]  # told from the record before, which a new process has not
BACKWARD = accelerate.Accelerator.backward


class Model(nn.Module):
    config = transformers.PretrainedConfig()

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 4))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(x)
        return {"logits": logits} | ({} if labels is None else {"loss": F.cross_entropy(logits, labels)})


class Trainer(transformers.Trainer):
    """In order; `losses` has what each part of a step goes backward from: (global_step, loss)."""

    def __init__(self, *args: Any, fails_at: int | None = None, error: Any = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.losses: list[tuple[int, float]] = []
        self.fails_at, self.error = fails_at, error

    def _get_train_sampler(self, *_: object) -> Any:
        return torch.utils.data.SequentialSampler(DATA)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        if self.state.global_step == self.fails_at:
            raise self.error
        loss = super().training_step(*args, **kwargs)
        self.losses.append((self.state.global_step, loss.item()))
        return loss


def train(
    folder: Path, *callbacks: Any, model: nn.Module | None = None, resume: Any = None, **settings: Any
) -> Any:
    own = {
        name: settings.pop(name) for name in ("fails_at", "error", "compute_loss_func") if name in settings
    }
    common = {
        "per_device_train_batch_size": 4,
        "max_steps": 7,
        "learning_rate": 0.1,
        "optim": "sgd",
        "use_cpu": True,
    }
    quiet = {"report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
    constant = {"lr_scheduler_type": "constant"}
    arguments = transformers.TrainingArguments(str(folder), **(common | quiet | constant | settings))
    trainer = Trainer(
        model or Model(), arguments, train_dataset=DATA, eval_dataset=DATA, callbacks=[*callbacks], **own
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def weights(module: nn.Module) -> Tensor:
    return torch.cat([each.detach().ravel() for each in module.parameters()])


def steps_of(recorder: Recorder) -> pd.DataFrame:
    return recorder.steps_table().frame().set_index("step")


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


@pytest.mark.parametrize("how", ["the model's", "in parts", "smoothed", "a function's"])
def test_every_step_has_the_loss_that_it_went_down_from(how: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "the model's": {},
        "in parts": {"gradient_accumulation_steps": 2},  # of 3 batches an epoch
        "smoothed": {"label_smoothing_factor": 0.2},
        "a function's": {
            "compute_loss_func": lambda outputs, labels, **_: 3 * F.cross_entropy(outputs["logits"], labels)
        },
    }[how]
    callback = RecorderCallback(schedule="all", probe={"x": X})
    trainer = train(tmp_path, callback, **settings)
    steps = steps_of(callback.recorder)
    expected = pd.DataFrame(trainer.losses, columns=["step", "loss"]).groupby("step")["loss"].sum()
    assert [*steps.index] == [*range(7)]
    np.testing.assert_allclose(steps["train_loss"], expected, rtol=1e-6)
    first = 8 if how == "in parts" else 4
    plain = F.cross_entropy(Model()(X[:first])["logits"], Y[:first]).detach()
    ratio = float(steps["train_loss"].iloc[0] / plain)
    wanted = {"smoothed": None, "a function's": 3.0}.get(how, 1.0)
    assert ratio == pytest.approx(wanted, rel=1e-6) if wanted else ratio != pytest.approx(1, rel=1e-3)
    assert accelerate.Accelerator.backward is BACKWARD


def test_the_loss_costs_no_wait_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device reading a number waits for it; nothing in a step of the callback's reads one."""
    waits: list[str] = []
    for name in ("item", "tolist", "cpu", "__float__", "__bool__"):
        before = getattr(Tensor, name)

        def counted(self: Tensor, *args: Any, _before: Any = before, _name: str = name) -> Any:
            frame: Any = sys._getframe(1)
            while frame is not None:
                if "gradlab/integrations" in frame.f_code.co_filename:
                    waits.append(_name)
                frame = frame.f_back
            return _before(self, *args)

        monkeypatch.setattr(Tensor, name, counted)
    seen = {}

    class Counts(RecorderCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen[state.global_step] = len(waits)

    train(tmp_path, Counts(schedule="every:5", metrics="gradients"))
    assert seen[3] == seen[5]  # no record was due in between, and every loss was heard


@pytest.mark.parametrize("name", ["layers.csv", "records"])
def test_a_resumed_training_adds_to_its_files_what_an_uninterrupted_one_would(
    name: str, tmp_path: Path
) -> None:
    def settings(folder: Path) -> dict[str, Any]:
        return {"out": folder / name, "schedule": "all", "probe": {"x": X, "labels": Y}}

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(whole, RecorderCallback(**settings(whole)), max_steps=11)
    train(parts, RecorderCallback(**settings(parts)), max_steps=7, save_strategy="steps", save_steps=4)
    callback = RecorderCallback(**settings(parts))
    train(parts, callback, max_steps=11, resume=str(parts / "checkpoint-4"))
    assert callback.recorder.to_frame()["step"].min() == 4
    for file in [name] if name.endswith(".csv") else ["records/layers.csv", "records/steps.csv"]:
        expected, got = pd.read_csv(whole / file), pd.read_csv(parts / file)
        assert got["step"].unique().tolist() == [*range(11)]
        new = [column for column in NEW_HERE if column in got]
        pd.testing.assert_frame_equal(got.drop(columns=new), expected.drop(columns=new), rtol=1e-5)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of luck")])
@pytest.mark.parametrize("how", ["with", "close", "forgotten", "trained again"])
def test_an_interrupted_training_leaves_its_records(how: str, error: BaseException, tmp_path: Path) -> None:
    file, model = tmp_path / "layers.csv", Model()
    callback = RecorderCallback(schedule="all", out=file)
    with pytest.raises(type(error)):
        if how == "with":
            with callback:
                train(tmp_path, callback, model=model, fails_at=3, error=error)
        else:
            train(tmp_path, callback, model=model, fails_at=3, error=error)
    error.__traceback__ = None  # the frames of the training
    assert file.exists() == (how == "with")
    if how == "close":
        callback.close()
    if how == "trained again":
        other = callback.out = tmp_path / "other.csv"
        train(tmp_path, callback, max_steps=2)
        assert pd.read_csv(other)["step"].max() == 1
    if how == "forgotten":
        del callback
        gc.collect()
    assert pd.read_csv(file)["step"].unique().tolist() == [0, 1, 2]
    assert not hooks(model)
    assert accelerate.Accelerator.backward is BACKWARD


SCRIPT = """
import os, signal, sys
from recorder.test_recorder_transformers import *

class Stops(Model):
    calls = 0
    def forward(self, x, labels):
        Stops.calls += 1
        if Stops.calls == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return super().forward(x, labels)

folder = Path(sys.argv[1])
callback = RecorderCallback(schedule="all", out=folder / "layers.csv")
train(folder, callback, model=Stops())
"""


def test_ctrl_c_in_a_script_leaves_the_records(tmp_path: Path) -> None:
    place = Path(__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=place,
        env=_environment(place),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGINT and "KeyboardInterrupt" in ended.stderr, ended.stderr
    assert pd.read_csv(tmp_path / "layers.csv")["step"].unique().tolist() == [0, 1, 2]


def _environment(place: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), str(place.parent)])}


@pytest.mark.parametrize("kind", ["float32", "bf16 model", "bf16 autocast", "in parts"])
def test_the_weights_are_the_same_to_the_last_bit_with_and_without_it(kind: str, tmp_path: Path) -> None:
    ends = []
    for watched in (False, True):
        callback = RecorderCallback(
            schedule="all",
            probe={"x": X.double()},
            targets=Y,
            criterion=lambda outputs, targets: F.cross_entropy(outputs["logits"].float(), targets),
        )
        model, settings = Model(dropout=0.5), {}
        if kind == "bf16 model":
            model = model.to(torch.bfloat16)
            model.net.register_forward_pre_hook(lambda module, args: (args[0].to(torch.bfloat16),))
        if kind == "bf16 autocast":
            settings = {"bf16": True}
        if kind == "in parts":
            settings = {"gradient_accumulation_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
        trainer = train(tmp_path, *[callback] * watched, model=model, **settings)  # clipped at 1, the default
        ends.append((weights(model), trainer.losses))
    assert torch.equal(ends[0][0], ends[1][0]) and ends[0][1] == ends[1][1]
    steps = steps_of(callback.recorder)
    assert [*steps.index] == [*range(7)] and steps["probe_loss"].between(0.5, 3).all()
    expected = pd.DataFrame(ends[0][1], columns=["step", "loss"]).groupby("step")["loss"].sum()
    np.testing.assert_allclose(steps["train_loss"], expected, rtol=1e-2 if kind == "bf16 model" else 1e-6)


def test_the_evaluations_loss_stands_at_the_step_whose_weights_it_is_of(tmp_path: Path) -> None:
    callback = RecorderCallback(schedule="all")
    trainer = train(tmp_path, callback, eval_strategy="steps", eval_steps=3, eval_on_start=True)
    logged = [each for each in trainer.state.log_history if "eval_loss" in each]
    found = steps_of(callback.recorder)["val_loss"].dropna()
    assert [*found.index] == [0, 3, 6] == [each["step"] for each in logged][:3]
    np.testing.assert_allclose(found, [each["eval_loss"] for each in logged][:3], rtol=1e-6)
    trainer.evaluate()  # after the training nothing is recorded


def test_a_compiled_training_is_recorded(tmp_path: Path) -> None:
    ends = []
    for watched in (False, True):
        callback = RecorderCallback(schedule="every:3", probe={"x": X})
        trainer = train(
            tmp_path, *[callback] * watched, torch_compile=True, torch_compile_backend="aot_eager"
        )
        ends.append(weights(trainer.model))
    assert torch.equal(*ends)
    assert steps_of(callback.recorder).index.tolist() == [0, 3, 6]
    assert callback.recorder.to_frame()["delta_rms"].notna().all()


def test_two_trainings_at_once_hear_their_own_losses_and_put_backward_back() -> None:
    from gradlab.integrations.backward_calls import BackwardCalls

    heard: list[list[float]] = [[], []]
    one, two = (BackwardCalls(lambda loss, each=each: each.append(loss.item())) for each in heard)
    accelerator = accelerate.Accelerator(cpu=True)
    one.on()
    two.on()
    one.off()
    accelerator.backward(torch.tensor(2.0, requires_grad=True) * 1)
    elsewhere = threading.Thread(
        target=lambda: accelerator.backward(torch.tensor(5.0, requires_grad=True) * 1)
    )
    elsewhere.start()
    elsewhere.join()
    two.off()
    two.off()
    accelerator.backward(torch.tensor(3.0, requires_grad=True) * 1)
    assert heard == [[], [2.0]] and accelerate.Accelerator.backward is BACKWARD


def test_what_a_tokenizer_returns_is_a_probe(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=20, n_positions=12)
    tokens = torch.randint(0, 20, (3, 12))
    batch = transformers.BatchEncoding({"input_ids": tokens, "attention_mask": torch.ones_like(tokens)})
    callback = RecorderCallback(probe=batch, schedule="all")
    data = [{"input_ids": each, "labels": each} for each in tokens]
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=2, use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no"
    )
    trainer = transformers.Trainer(
        transformers.GPT2LMHeadModel(config), arguments, train_dataset=data, callbacks=[callback]
    )
    trainer.train()
    steps = steps_of(callback.recorder)
    assert steps["train_loss"].between(2.5, 3.5).all()  # ln 20 is 3
    rows = callback.recorder.to_frame().set_index("name")
    assert (rows.loc[["transformer.h.0.attn.c_attn", "lm_head"], "z_std"] > 0).all()
