"""Losses, accuracy, R^2 and clipping, replica by replica, against torch.nn's own and by hand."""

import pytest
import torch
from sklearn.metrics import r2_score

from gradlab.nn.explained import Explained
from gradlab.parts import losses
from gradlab.train.clipping import clip, gradient_norms

LOGITS = torch.randn(3, 16, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(4, (3, 16), generator=torch.Generator().manual_seed(1))


def test_losses_are_torchs_on_each_replica() -> None:
    for r in range(3):
        one_hot = torch.eye(4, dtype=torch.float64)[LABELS[r]]
        torch.testing.assert_close(
            losses.cross_entropy(LOGITS, LABELS)[r], torch.nn.CrossEntropyLoss()(LOGITS[r], LABELS[r])
        )
        torch.testing.assert_close(
            losses.mse(LOGITS, LABELS)[r], torch.nn.MSELoss(reduction="sum")(LOGITS[r], one_hot) / 16
        )
        binary, label = LOGITS[:, :, :1], LABELS % 2
        torch.testing.assert_close(
            losses.binary_cross_entropy(binary, label)[r],
            torch.nn.BCELoss()(torch.sigmoid(binary[r, :, 0]), label[r].double()),
        )


def test_losses_of_numbers_are_torchs_summed_over_the_outputs() -> None:
    targets = torch.randn(LOGITS.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    labels = (targets > 0).double()
    huber = losses.get("huber:delta=0.3")
    assert huber.text == "huber:delta=0.3" and losses.get("huber:delta=1").text == "huber"
    for r in range(3):
        outputs, wanted = LOGITS[r], targets[r]
        for found, theirs, given in (
            (losses.mse, torch.nn.MSELoss(reduction="sum"), wanted),
            (losses.mae, torch.nn.L1Loss(reduction="sum"), wanted),
            (huber.of, torch.nn.HuberLoss(reduction="sum", delta=0.3), wanted),
            (losses.binary_cross_entropy, torch.nn.BCEWithLogitsLoss(reduction="sum"), labels[r]),
        ):
            every = labels if given is not wanted else targets
            torch.testing.assert_close(found(LOGITS, every)[r], theirs(outputs, given) / 16)


TAKEN = [(name, task) for name, loss in losses.LOSSES.items() for task in loss.takes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("name", "task"), TAKEN)
def test_a_gradient_is_autograds_to_the_last_bit(name: str, dtype: torch.dtype, task: str) -> None:
    loss = losses.LOSSES[name]
    binary = loss.binary and task == "classification"
    outputs = (LOGITS[:, :, :1] if binary else LOGITS).to(dtype) * 30  # some logits far apart
    outputs[0, 0] = torch.nan
    labels = LABELS % 2 if binary else LABELS
    if task != "classification":
        labels = (LOGITS.flip(1) > 0).to(dtype) if task == "multilabel" else LOGITS.flip(1).to(dtype)
    leaf = outputs.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(loss.of(leaf, labels).sum(), leaf)
    found, gradient = loss.losses_and_gradient(outputs, labels)
    torch.testing.assert_close(found, loss.of(outputs, labels), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0, equal_nan=True)
    assert not (found.requires_grad or gradient.requires_grad)


def test_accuracy() -> None:
    outputs = torch.tensor([[[0.1, 0.3], [0.5, 0.2]]])
    assert losses.correct(outputs, torch.tensor([[1, 1]])).tolist() == [[True, False]]
    binary = torch.tensor([[[0.1], [-0.5], [2.0]]])
    assert losses.correct(binary, torch.tensor([[1, 0, 0]])).tolist() == [[True, True, False]]


def test_the_threshold_of_one_output_may_be_a_probability() -> None:
    outputs, labels = torch.tensor([[[0.4], [0.6]]]), torch.tensor([[0, 1]])
    assert losses.correct(outputs, labels, threshold=0.5).tolist() == [[True, True]]
    assert losses.get("torch.nn:BCELoss", own=True).threshold == 0.5


def test_r2_is_scikit_learns_on_each_replica_whatever_the_parts() -> None:
    draw = torch.Generator().manual_seed(3)
    truth = torch.randn(40, 2, dtype=torch.float64, generator=draw) * torch.tensor([1.0, 50.0]) + 7
    outputs = truth + torch.randn(3, 40, 2, dtype=torch.float64, generator=draw) * torch.tensor([0.5, 80.0])
    explained = Explained(truth)
    for part in (slice(0, 13), slice(13, 40)):
        explained.add(outputs[:, part], truth[part].expand(3, -1, -1))
    expected = [r2_score(truth.numpy(), each.numpy()) for each in outputs]
    assert explained.share().tolist() == pytest.approx(expected, rel=1e-12) and min(expected) < 0


def test_r2_of_what_is_no_number_and_of_what_does_not_vary() -> None:
    truth = torch.tensor([[1.0], [2.0]])
    explained = Explained(truth)
    explained.add(torch.tensor([[[1.0], [torch.nan]]]), truth[None])
    assert explained.share().tolist() == [-torch.inf]
    assert explained.defined and not Explained(torch.ones(3, 1)).defined


def test_a_diverged_net_is_never_right() -> None:
    """Its NaNs would else be class 0: on unbalanced data a good accuracy, and --best-over would choose it."""
    labels = torch.tensor([[0, 0]])
    assert not losses.correct(torch.full((1, 2, 3), torch.nan), labels).any()
    assert not losses.correct(torch.full((1, 2, 1), torch.nan), labels).any()


def test_clipping_is_torchs_on_each_replica() -> None:
    weight, bias = (torch.nn.Parameter(torch.zeros(2, n, 3)) for n in (4, 1))
    owned = torch.nn.Parameter(torch.zeros(5))  # a user's parameter that belongs to replica 1 alone
    owners = [(weight, None), (bias, None), (owned, 1)]
    gradients = [torch.randn(2, 4, 3), torch.randn(2, 1, 3) * 1e-3, torch.randn(5)]
    gradients[0][0] *= 0.01
    norms = gradient_norms(owners, gradients)
    expected = [
        torch.cat([gradients[0][r].flatten(), gradients[1][r].flatten(), gradients[2] if r else torch.zeros(0)])
        .double().norm().item()
        for r in range(2)
    ]  # fmt: skip
    assert norms.tolist() == pytest.approx(expected, rel=2**-22)  # sums of float32 squares
    clipped = clip(owners, gradients, norms, 1.0)
    assert torch.equal(clipped[0][0], gradients[0][0]), "a replica below the limit is left alone"
    torch.testing.assert_close(clipped[0][1], gradients[0][1] / norms[1].float())
    torch.testing.assert_close(clipped[2], gradients[2] / norms[1].float())
    assert gradient_norms(owners, clipped)[1].item() == pytest.approx(1.0, rel=1e-6)


def test_clipping_of_tiny_and_zero_gradients() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, 3, 3))
    gradient = torch.stack([torch.zeros(3, 3), torch.full((3, 3), 1e-30)])
    norms = gradient_norms([(weight, None)], [gradient])
    assert norms.tolist() == pytest.approx([0.0, 3e-30], rel=1e-6)
    assert torch.equal(clip([(weight, None)], [gradient], norms, 0.5)[0], gradient)
