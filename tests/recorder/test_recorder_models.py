"""Models the recorder has never seen need no change, and recording does nothing else to them."""

import gc
import random
import warnings
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from recorder_zoo import CASES, make
from torch import nn

from gradlab.recorder.recorder import Recorder
from gradlab.recorder.units import LEARNED_ACTIVATIONS, own_parameters, tensors

STEPS = 5


def train(name: str, recorded: bool, optimizer: str = "Adam"):  # type: ignore[no-untyped-def]
    """Weights, buffers and the random states after a few steps, and the recorder."""
    case = make(name)
    random.seed(1)
    np.random.seed(1)
    kind = "SGD" if name == "sparse_bag" else optimizer
    opt = getattr(torch.optim, kind)(case.model.parameters(), lr=0.01)
    recorder = Recorder(
        case.model,
        probe=case.probe,
        schedule="every:2",
        steps=STEPS,
        batch_dim=case.batch_dim,
        metrics="full",
    )
    if recorded:
        with recorder:
            for _ in range(STEPS):
                opt.zero_grad()
                case.loss(case.model).backward()
                recorder.step(optimizer=opt)
                opt.step()
    else:
        for _ in range(STEPS):
            opt.zero_grad()
            case.loss(case.model).backward()
            opt.step()
    states = (torch.get_rng_state(), np.random.get_state()[1], random.getstate())
    return case, recorder, {k: v.clone() for k, v in case.model.state_dict().items()}, states, opt


@pytest.mark.parametrize("name", CASES)
def test_weights_and_random_states_are_the_same_to_the_last_bit(name: str) -> None:
    _, _, plain, plain_states, _ = train(name, recorded=False)
    case, _, weights, states, opt = train(name, recorded=True)
    assert plain.keys() == weights.keys()
    for key in plain:
        assert torch.equal(plain[key], weights[key]), key
    assert torch.equal(states[0], plain_states[0])
    assert (states[1] == plain_states[1]).all() and states[2] == plain_states[2]
    for module in case.model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks
        assert module.training
    assert not opt._optimizer_step_pre_hooks and not opt._optimizer_step_post_hooks
    assert torch.overrides._get_current_function_mode() is None


@pytest.mark.parametrize("name", CASES)
def test_every_module_with_parameters_has_its_rows(name: str) -> None:
    case, recorder, *_ = train(name, recorded=True)
    rows = recorder.to_frame()
    first = rows[rows["step"] == 0].set_index("name")
    expected = {
        (path or "(model)")
        for path, module in case.model.named_modules()
        if list(module.parameters(recurse=False)) or hasattr(module, "parametrizations")
        if not isinstance(module, LEARNED_ACTIVATIONS) and "parametrizations" not in path
    }
    assert {each for each in first.index if "#" not in each} == expected
    assert sorted(rows["step"].unique()) == [0, 2, 4]
    for row in expected:
        with_own = first.loc[row]
        assert with_own["weight_grad_norm"] >= 0 or with_own["bias_grad_norm"] >= 0, row
        assert with_own["update_ratio"] >= 0, row
        if row in case.silent:
            assert np.isnan(with_own["delta_rms"]), row
        else:
            assert with_own["delta_rms"] > 0 and with_own["batch"] == 6, row
            assert with_own["z_std"] >= 0, row
    assert (rows["nonfinite"].dropna() == 0).all()
    found = recorder.diagnose()
    assert len(found.verdicts) == len(found.seeds_text.split(","))


def test_activations_are_found_whatever_they_are_written_as() -> None:
    def activated(name: str) -> set[str]:
        _, recorder, *_ = train(name, recorded=True)
        rows = recorder.to_frame()
        return set(rows[(rows["step"] == 0) & rows["slope_sq"].notna()]["name"])

    assert activated("functional_cnn") == {"conv1", "conv2", "fc1"}
    assert activated("shared_activation") == {f"layers.{i}" for i in range(4)}
    assert activated("dynamic") == {"input", "middle", "middle#2", "middle#3"}
    assert activated("residual_cnn") == {"1.bn1", "1.bn2", "2.bn1", "2.bn2"}
    assert activated("vae") == {"enc", "dec1", "dec2"}
    assert activated("char_rnn") == {"i2h", "i2h#2", "i2h#3"}
    assert activated("unet") == {"norm", "mid", "up"}
    assert activated("dropout_batchnorm") == {"1"}
    assert activated("encoder") == {"layers.0.linear1", "layers.1.linear1"}
    assert activated("patches") == {"mlp.0"}


def test_a_gan_step_with_two_optimisers() -> None:
    """The generator's step runs through the discriminator, whose gradients are then thrown away."""

    def play(recorded: bool):  # type: ignore[no-untyped-def]
        torch.manual_seed(0)
        g = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 5))
        d = nn.Sequential(nn.Linear(5, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
        opt_g, opt_d = torch.optim.Adam(g.parameters()), torch.optim.Adam(d.parameters())
        real, ones, zeros = torch.randn(6, 5), torch.ones(6, 1), torch.zeros(6, 1)
        rec_g, rec_d = Recorder(g, schedule="all"), Recorder(d, schedule="all")
        expected = []
        if recorded:
            rec_g.__enter__()
            rec_d.__enter__()
        for _ in range(3):
            fake = g(torch.randn(6, 3))
            opt_d.zero_grad()
            z_real, z_fake = d(real), d(fake.detach())
            z_real.retain_grad()
            z_fake.retain_grad()
            bce = F.binary_cross_entropy_with_logits
            (bce(z_real, ones) + bce(z_fake, zeros)).backward()
            expected.append(float(6 * torch.cat([z_real.grad, z_fake.grad]).double().square().mean().sqrt()))
            if recorded:
                rec_d.step(optimizer=opt_d)
            opt_d.step()
            opt_g.zero_grad()
            bce(d(fake), ones).backward()
            if recorded:
                rec_g.step(optimizer=opt_g)
            opt_g.step()
        if recorded:
            rec_d.__exit__(None, None, None)
            rec_g.__exit__(None, None, None)
        weights = torch.cat([p.detach().ravel() for p in (*g.parameters(), *d.parameters())])
        return weights, rec_d, rec_g, expected

    plain, *_ = play(False)
    weights, rec_d, rec_g, expected = play(True)
    assert torch.equal(plain, weights)
    readout = rec_d.to_frame().query("name == '2'")
    assert (readout["batch"] == 12).all()
    np.testing.assert_allclose(readout["delta_rms"], expected, rtol=1e-6)
    assert (rec_g.to_frame()["batch"] == 6).all()


def alive() -> int:
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of torch's own objects do not like to be asked for their class
        return sum(isinstance(each, torch.Tensor) for each in gc.get_objects())


def watched_for(name: str, steps: int, schedule: str, look: tuple[int, ...]) -> tuple[list[int], int]:
    """The numbers of tensors alive at the steps `look`, and how many of the outputs of the last steps are left at the
    end, though the recorder is still there."""
    gc.collect()
    gc.freeze()  # what is there by now is neither counted nor walked through again
    case = make(name)
    kind = torch.optim.SGD if name == "sparse_bag" else torch.optim.Adam
    opt = kind(case.model.parameters(), lr=1e-4)
    outputs: list[weakref.ref[torch.Tensor]] = []

    def keep(module: nn.Module, args: object, out: object) -> None:
        outputs.extend(weakref.ref(each) for each in tensors(out) if not isinstance(each, nn.Parameter))

    handles = [m.register_forward_hook(keep) for m in case.model.modules() if own_parameters(m)]
    counts = []
    with Recorder(case.model, probe=case.probe, schedule=schedule, batch_dim=case.batch_dim) as recorder:
        for step in range(steps):
            opt.zero_grad(set_to_none=False)
            case.loss(case.model).backward()
            recorder.step(optimizer=opt)
            opt.step()
            if step in look:
                outputs.clear()
                counts.append(alive())
    for handle in handles:
        handle.remove()
    gc.collect()
    assert outputs and len(recorder.to_frame())
    return counts, sum(reference() is not None for reference in outputs)


@pytest.mark.parametrize("name", CASES)
def test_no_tensor_is_left_and_their_number_stays_the_same(name: str) -> None:
    counts, left = watched_for(name, 20, "all", (4, 10, 16))
    assert counts[0] >= counts[1] >= counts[2]  # what other tests left may go meanwhile
    assert left == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_memory_is_flat_over_two_hundred_records(name: str) -> None:
    counts, left = watched_for(
        name, 401, "every:2", (129, 257, 385)
    )  # each after another 64 records, a flush
    assert counts[0] >= counts[1] >= counts[2]  # what other tests left may go meanwhile
    assert left == 0
