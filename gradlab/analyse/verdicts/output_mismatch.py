"""output-mismatch: the last function, the criterion and the targets do not fit each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, prod

from gradlab.analyse import cure
from gradlab.analyse.cure import Cure
from gradlab.analyse.facts import Facts
from gradlab.analyse.fault import Fault
from gradlab.analyse.task import DISTANCES, PROBABILITY_LOSSES, RANGES, Task, from_the_start
from gradlab.analyse.verdict import BAD, Verdict, no_remedies

OUTSIDE = 0.1
"""Share of the targets' range that must lie outside of what the last function can give: noise reaches a little out."""

SQUASHED = frozenset({"softmax", "softmin", "sigmoid", "hard_sigmoid_6"})
"""Functions that give shares, where a criterion takes logits."""

OF_LOGITS = ("cross_entropy", "binary_cross_entropy_with_logits")
ALONG_CLASSES = frozenset({"softmax", "softmin", "log_softmax"})

OF_LOGARITHMS = frozenset({"nll_loss", "kl_div"})
"""Criteria that take logarithms of shares."""

LOGARITHMS = frozenset({"log_softmax", "log", "logsigmoid", "in the criterion"})
"""What may stand before them: logarithms of shares, and what the criterion computes by itself."""

BOUNDED = frozenset({"relu", "relu6", "tanh", "hard_tanh", "softsign", "erf"})
"""Functions whose outputs are no logits: those of a ReLU cannot fall below 0, and one at 0 has no gradient; those in
-1 to 1 give no class of K a share above e^2 / (e^2 + K - 1), 0.88 of two classes and 0.45 of ten."""

NEVER_NEGATIVE = frozenset({"cross_entropy", "binary_cross_entropy_with_logits", *DISTANCES})
"""Criteria that are 0 or more, for targets that they take."""

POSITIVE = 1e-3
"""A logarithm of a share is at most 0: an output above this, rounding left aside, is none."""


def judge(facts: Facts) -> list[Fault | None]:
    last = len(facts.records.layers)
    return [
        from_the_start(facts, seed, last) if _wrong(facts, seed) else None
        for seed in range(len(facts.learning))
    ]


def _wrong(facts: Facts, seed: int) -> str:
    """What does not fit; "" for nothing."""
    task = Task.of(facts, seed)
    loss, made = task.criterion, task.made_by
    if made in ("softmax", "log_softmax", "softmin") and task.units == 1:
        return f"a {made} over one unit gives the same for every input, whatever the weights are"
    if loss in ("cross_entropy", "nll_loss") and task.units == 1:
        return f"one output, and {loss} needs one a class"
    if task.over_samples and made in ALONG_CLASSES and len(set(task.output_shape)) > 1:
        return f"{made} runs along the samples (dim=0), and the shares of one sample's classes do not add up to 1"
    if made in ALONG_CLASSES and task.shares:
        return f"{made} of what a {task.shares} gave: shares of shares are nearly equal, whatever the outputs are"
    if loss == "cross_entropy" and made in SQUASHED:
        return f"{made} before cross_entropy, which takes logits and has a softmax of its own"
    if loss == "binary_cross_entropy_with_logits" and made in SQUASHED:
        return f"{made} before {loss}, which takes logits and has a sigmoid of its own"
    highest = float(facts.records.known("output_max")[seed])
    if loss in OF_LOGARITHMS and made not in LOGARITHMS and highest > POSITIVE:
        what = made or "a plain map"
        return f"{what} before {loss}, which takes logarithms of shares: the outputs go up to {highest:.3g}"
    if made == "softmax" and task.kind == "labels":
        return "several labels at once, and the shares of a softmax add up to 1"
    if unlike(task):
        shapes = (" x ".join(map(str, shape)) for shape in (task.output_shape, task.target_shape))
        return "outputs [{}] against targets [{}]: each output meets every target".format(*shapes)
    low, high = RANGES.get(made, (-inf, inf))
    below, above = low - task.target_min, task.target_max - high
    if task.of_numbers and max(below, above) > OUTSIDE * (task.target_max - task.target_min):
        span = f"{task.target_min:.3g} to {task.target_max:.3g}"
        return f"{made} gives {low:g} to {high:g}, and the targets go from {span}"
    if made in ("relu", "relu6") and loss in (*OF_LOGITS, *PROBABILITY_LOSSES):
        return f"{made} before {loss}: a logit cannot fall below 0, and one at 0 has no gradient"
    if made in BOUNDED and loss in OF_LOGITS:
        return f"{made} before {loss}: logits from {low:g} to {high:g} make no class sure"
    return _turned(facts, seed, task)


def _turned(facts: Facts, seed: int, task: Task) -> str:
    """That the loss begins below 0, where its formula is never; "" otherwise."""
    first = float(facts.records.known("probe_loss")[seed])
    if task.criterion in NEVER_NEGATIVE and first < 0:
        return f"the loss begins at {first:.3g}, and {task.criterion} is never below 0: its sign is wrong"
    return ""


def unlike(task: Task) -> bool:
    """Whether outputs and targets are of other shapes, so that they are spread over each other."""
    if task.criterion not in DISTANCES or not (task.output_shape and task.target_shape):
        return False
    return task.output_shape != task.target_shape and prod(task.output_shape) <= max(task.target_shape) * max(
        task.output_shape
    )


def evidence(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> str:
    return _wrong(facts, seeds[0])


def cures(facts: Facts, seeds: Sequence[int], faults: Sequence[Fault]) -> Iterator[Cure]:
    task = Task.of(facts, seeds[0])
    loss, made = task.criterion, task.made_by
    if unlike(task):
        yield cure.code("loss = criterion(outputs.squeeze(-1), y)", "give outputs and targets the same shape")
    elif task.over_samples:
        yield cure.code(f"nn.{_module(made)}(dim=1)", "let it run along the classes")
    elif task.shares:
        yield cure.code(
            f"leave the {task.shares} out", f"the {made} takes the outputs of the last linear map"
        )
    elif task.units == 1 and "softmax" in made:
        yield cure.code("torch.sigmoid in place of the softmax, with BCELoss", "one unit needs a sigmoid")
    elif loss == "cross_entropy" and task.units == 1 and task.distinct == 2 and task.target_max == 1:
        yield cure.criterion("BCEWithLogitsLoss", "one output for two classes needs a sigmoid's loss")
    elif loss == "cross_entropy" and made == "softmax":
        yield cure.code("leave the nn.Softmax out", "this criterion takes the outputs of the last linear map")
    elif _turned(facts, seeds[0], task):
        yield cure.code("loss = criterion(outputs, y)", "without the minus sign")
    elif loss == "binary_cross_entropy_with_logits" and made == "sigmoid":
        yield cure.criterion("BCELoss", "this criterion takes shares, or leave the sigmoid out")
    elif loss == "nll_loss" and made != "log_softmax":
        yield cure.criterion("CrossEntropyLoss", "this criterion takes the outputs as they are")
    elif loss == "kl_div":
        yield cure.code(
            "criterion(torch.log_softmax(logits, -1), y)",
            "this criterion takes logarithms of shares, and shares as targets",
        )
    elif made in RANGES and task.of_numbers:
        yield cure.code("a plain nn.Linear as the last layer", "outputs for numbers need no bound")
        yield cure.standardise_targets("or bring the targets into the outputs' range")
    else:
        yield cure.code("a plain nn.Linear as the last layer", "the criterion has its own last function")


def _module(function: str) -> str:
    """`LogSoftmax` of `log_softmax`."""
    return "".join(part.capitalize() for part in function.split("_"))


VERDICT = Verdict(
    name="output-mismatch",
    order=2,
    summary="the last function, the criterion and the targets do not fit each other",
    headline="The last function, the criterion and the targets do not fit each other",
    severity="stops learning",
    style=BAD,
    judge=judge,
    evidence=evidence,
    remedies=no_remedies,
    cures=cures,
)
