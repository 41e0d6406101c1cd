"""What a model and its criterion are asked once: of samples without a gradient, of samples that meet, of frozen
weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradlab import Recorder
from gradlab.recorder.asked import of_others, unpulled
from gradlab.recorder.drawn import as_drawn


def squares(out, y):  # type: ignore[no-untyped-def]
    return (out - y).square().mean()


OUTPUTS, TARGETS = torch.tensor([[-1.0], [-1.0], [0.5], [2.0]]), torch.tensor([[1.0], [0.0], [1.0], [0.0]])


@pytest.mark.parametrize(
    ("criterion", "baseline", "share"),
    [
        (squares, 0.25, 0.0),
        (lambda out, y: squares(out.clamp(0, 1), y), 0.25, 0.5),  # the first and the last are wrong behind the clamp
        (lambda out, y: 4 * squares(out.clamp(0, 1), y), 4.0, 0.0),  # none is worse off than the constant's 4
        (lambda out, y: (out.clamp(0, 1) - y).square().sum(), 1.0, 0.5),  # summed: the constant's is a quarter of 1
        (lambda out, y: squares(out.round(), y), 0.25, 1.0),
        (lambda out, y: F.relu(1 - (2 * y - 1) * out).mean(), 1.0, 0.0),  # a satisfied hinge is right
        (lambda out, y: F.relu(1 - y * out).mean(), 0.5, 0.5),  # targets of 0 have no side
        (lambda out, y: ((out > 0.0) != (y > 0.5)).float().mean(), 0.5, 0.5),  # no graph at all
    ],
)  # fmt: skip
def test_the_share_of_wrong_samples_without_a_gradient(criterion, baseline, share) -> None:  # type: ignore[no-untyped-def]
    assert unpulled(criterion, OUTPUTS, TARGETS, baseline) == share


def test_samples_that_a_criterion_leaves_out_are_not_wrong() -> None:
    criterion = nn.CrossEntropyLoss(ignore_index=-100)
    assert unpulled(criterion, torch.randn(6, 3), torch.tensor([0, -100, 1, -100, 2, -100]), 1.1) == 0.0


class Steps(nn.Module):
    """A recurrent layer that takes the samples for steps, unless it is told."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.rnn = nn.RNN(4, 8, batch_first=batch_first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0][:, -1]


def test_an_output_that_depends_on_other_samples_is_told() -> None:
    torch.manual_seed(0)
    x = torch.randn(12, 5, 4)
    mixed, own = of_others(Steps(False), x), of_others(Steps(True), x)
    assert mixed is not None and mixed[0] > 0.01 and mixed[1] == 0
    assert own is not None and own[0] < 1e-5 and own[1] == 0


def test_chance_in_eval_mode_is_told() -> None:
    class Drops(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.dropout(super().forward(x), 0.5)

    before = torch.get_rng_state()
    found = of_others(Drops(4, 8), torch.randn(12, 4))
    assert found is not None and 0.5 < found[1] < 1.5
    state = torch.get_rng_state()
    torch.set_rng_state(before)
    Drops(4, 8), torch.randn(12, 4)
    assert torch.equal(state, torch.get_rng_state()), "no number was drawn from the loop's generator"


@pytest.mark.parametrize("probe", [torch.randn(3, 4), (torch.randn(12, 4), torch.randn(12, 4))])
def test_nothing_is_said_of_what_cannot_be_halved(probe) -> None:  # type: ignore[no-untyped-def]
    """Three samples; a model that does not take the arguments."""
    assert of_others(nn.Linear(4, 2), probe) is None


def uniform(weight: torch.Tensor) -> None:
    nn.init.kaiming_uniform_(weight, a=5**0.5)  # as nn.Linear does


@pytest.mark.parametrize(
    "draw",
    [uniform, nn.init.xavier_uniform_, nn.init.xavier_normal_, nn.init.kaiming_normal_, nn.init.normal_],
)
def test_weights_as_an_initialiser_draws_them(draw) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    weight = torch.empty(64, 48)
    draw(weight)
    assert as_drawn(weight)
    assert not as_drawn(2.3 * weight), "of another deviation"
    assert not as_drawn(weight + 0.1 * weight.std()), "not centred"
    assert not as_drawn(weight**3 * weight.std() / (weight**3).std()), "of other tails"
    assert not as_drawn(weight[:1, :48]), "too few to tell"


def recorded(model, x, y, criterion, **more):  # type: ignore[no-untyped-def]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=more.pop("rate", 0.01))
    recorder = Recorder(model, probe=x, targets=y, criterion=criterion)
    with recorder:
        for _ in range(2):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            recorder.step(loss=loss, optimizer=optimizer)
            optimizer.step()
    return recorder.steps_table().frame(), recorder.to_frame()


def test_the_columns_of_what_is_asked() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(16, 4), torch.rand(16, 1)
    steps, _ = recorded(nn.Linear(4, 1), x, y, lambda out, y: squares(out.clamp(0, 1), y))
    assert steps["unpulled_fraction"].nunique() == 1 and steps["unpulled_fraction"][0] > 0.1
    assert (steps["sample_mixing"] < 1e-5).all() and (steps["output_noise"] == 0).all()
    assert (steps["number_format"] == "float32").all()


def test_a_net_that_fits_its_probe_is_not_asked_what_its_outputs_depend_on() -> None:
    x = torch.randn(16, 4)
    model = nn.Linear(4, 1)
    steps, _ = recorded(model, x, model(x).detach(), squares)
    assert steps["sample_mixing"].isna().all() and steps["output_noise"].isna().all()


def test_a_frozen_layer_that_nobody_has_trained() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(16, 32), torch.randn(16, 1)
    for factor, word in ((1.0, "frozen as drawn"), (5.0, "frozen")):
        model = nn.Sequential(nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 1))
        model[0].requires_grad_(False)
        model[0].weight.data.mul_(factor)
        _, layers = recorded(model, x, y, squares)
        assert (layers.loc[layers["name"] == "0", "trains"] == word).all()


@pytest.mark.parametrize(
    ("last", "criterion", "said"),
    [
        (nn.Softmax(dim=1), lambda out, y: F.nll_loss(out.log_softmax(1), y), "softmax, log_softmax"),
        (nn.Sigmoid(), lambda out, y: F.nll_loss(F.log_softmax(out, dim=1), y), "sigmoid, log_softmax"),
        (nn.LogSoftmax(dim=0), F.nll_loss, "log_softmax over samples"),
        (nn.LogSoftmax(dim=1), F.nll_loss, "log_softmax"),
        (nn.LogSoftmax(dim=-2), F.nll_loss, "log_softmax over samples"),
    ],
)
def test_what_a_softmax_is_applied_to_and_along_which_axis(last, criterion, said) -> None:  # type: ignore[no-untyped-def]
    x, y = torch.randn(16, 4), torch.randint(3, (16,))
    steps, _ = recorded(nn.Sequential(nn.Linear(4, 3), last), x, y, criterion)
    assert (steps["output_activation"] == said).all()


def test_the_coarsest_format_of_the_outputs() -> None:
    class Half(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x).float()

    model = Half(nn.Linear(4, 3), nn.LayerNorm(3))
    steps, _ = recorded(model, torch.randn(16, 4), torch.randn(16, 3), squares)
    assert (steps["number_format"] == "bfloat16").all()


def test_word_numbers_that_are_the_same_in_every_sample() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    for x, share in ((torch.zeros(16, 3, dtype=torch.long), 1.0), (torch.arange(48).reshape(16, 3) % 9, 0.0)):
        steps, _ = recorded(model, x, torch.randn(16, 2), squares)
        assert (steps["input_constant"] == share).all()
