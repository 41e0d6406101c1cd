"""Losses, accuracy and clipping, replica by replica, against torch.nn's own and by hand."""

import pytest
import torch

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", list(losses.LOSSES))
def test_a_gradient_is_autograds_to_the_last_bit(name: str, dtype: torch.dtype) -> None:
    loss = losses.LOSSES[name]
    binary = name == "binary_cross_entropy"
    outputs = (LOGITS[:, :, :1] if binary else LOGITS).to(dtype) * 30  # some logits far apart
    outputs[0, 0] = torch.nan
    labels = LABELS % 2 if binary else LABELS
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
