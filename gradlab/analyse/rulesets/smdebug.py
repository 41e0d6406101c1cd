"""SageMaker Debugger's built-in rules with their default parameters, as its developer guide lists them."""

from __future__ import annotations

import numpy as np

from gradlab.analyse.records import Records
from gradlab.analyse.ruleset import OTHER, Answer, Hit, NotApplicable, Rule, published
from gradlab.analyse.rulesets._shared import activation_name, column, first_hit, not_finite, zeros_bear_out

VANISHING = 1e-7
INACTIVE_LAYER = 0.5
VARIANCE_RATIO = 10.0
GRADIENT_RANGE = 0.001
LOSS_PATIENCE = 5
INITIAL_STEPS = 10
LARGE_UPDATE, SMALL_UPDATE = 10.0, 1e-8
LOSS_STEPS, LOSS_PERCENT = 10, 0.1
UNCHANGED_STEPS = 3


def vanishing_gradient(records: Records, seed: int) -> Answer:
    """The mean absolute gradient of any layer below 1e-7."""
    gradient = column(records, seed, "weight_grad_mean_abs")
    if isinstance(gradient, NotApplicable):
        return gradient
    return first_hit(gradient < VANISHING, lambda t, i: f"mean |g| = {gradient[t, i]:.2g} < {VANISHING:g}")


def dead_relu(records: Records, seed: int) -> Answer:
    """More than half of a layer's units active on fewer than 1 % of the samples (here: of the probe)."""
    if activation_name(records) not in ("relu", "relu6"):
        return NotApplicable("the activation is not a ReLU")
    share = column(records, seed, "low_activity_fraction")
    if isinstance(share, NotApplicable):
        return share
    return first_hit(
        (share > INACTIVE_LAYER) & zeros_bear_out(records, seed, share),
        lambda t, i: f"{share[t, i]:.0%} of the units active on < 1 % of the samples",
    )


def saturated_activation(records: Records, seed: int) -> Answer:
    """tanh or sigmoid inputs outside a fixed range: the records hold |phi'| against its maximum, not these bounds."""
    return NotApplicable("the share of inputs outside the published range is not recorded")


def poor_weight_initialization(records: Records, seed: int) -> Answer:
    """In the first 10 steps: variances of the activation inputs 10 times apart, a gradient range below 0.001, or a
    loss that does not fall for 5 steps."""
    early = records.steps < INITIAL_STEPS
    if str(records.cell.get("norm", "none")) == "none":
        spread = records.layer("z_std")[seed]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = (spread.max(-1) / spread.min(-1)) ** 2  # the variance itself may leave float64
        if (early & (ratio > VARIANCE_RATIO)).any():
            t = int((early & (ratio > VARIANCE_RATIO)).argmax())
            return Hit(t, None, f"variances of the layers' inputs {ratio[t]:.3g} times apart")
    high, low = (records.every_layer(f"weight_grad_{name}")[seed] for name in ("p95", "p05"))
    with np.errstate(invalid="ignore"):
        reach = high - low
    narrow = (reach < GRADIENT_RANGE) & early[:, None]
    if hit := first_hit(narrow, lambda t, i: f"gradient p95 - p5 = {reach[t, i]:.2g} < {GRADIENT_RANGE:g}"):
        return hit
    loss = records.step("train_loss")[seed]
    best, since = np.inf, 0
    for t in np.flatnonzero(early & records.in_steps[seed]).tolist():
        since = 0 if loss[t] < best else since + 1
        best = min(best, loss[t])
        if since >= LOSS_PATIENCE:
            return Hit(t, None, f"no smaller loss for {since} records")
    return None


def weight_update_ratio(records: Records, seed: int) -> Answer:
    """||dW|| / ||W|| above 10 or below 1e-8 in any layer."""
    ratio = column(records, seed, "update_ratio")
    if isinstance(ratio, NotApplicable):
        return ratio
    return first_hit(
        (ratio > LARGE_UPDATE) | (ratio < SMALL_UPDATE), lambda t, i: f"update ratio {ratio[t, i]:.2g}"
    )


def loss_not_decreasing(records: Records, seed: int) -> Answer:
    """A loss not 0.1 % below that of the last record at least 10 steps before."""
    loss = records.step("train_loss")[seed]
    when = np.flatnonzero(records.in_steps[seed] & np.isfinite(loss))
    if not len(when):
        return NotApplicable("train_loss is not recorded")
    for i, t in enumerate(when):
        before = [s for s in when[:i] if records.steps[t] - records.steps[s] >= LOSS_STEPS]
        if before and loss[t] > loss[before[-1]] * (1 - LOSS_PERCENT / 100):
            return Hit(int(t), None, f"loss {loss[t]:.4g} after {loss[before[-1]]:.4g}")
    return None


def unchanged_tensor(records: Records, seed: int) -> Answer:
    """Weights that stay within rtol 1e-5, atol 1e-8 for 3 steps: certain where the update is exactly 0."""
    ratio = column(records, seed, "update_ratio")
    if isinstance(ratio, NotApplicable):
        return ratio
    still = ratio == 0
    for t in range(UNCHANGED_STEPS - 1, len(still)):
        first = t - UNCHANGED_STEPS + 1
        both = still[first : t + 1].all(0)
        if records.steps[t] - records.steps[first] == UNCHANGED_STEPS - 1 and both.any():
            return Hit(t, int(both.argmax()), f"no weight changed in {UNCHANGED_STEPS} steps")
    return None


RULESET = published(
    name="smdebug",
    order=10,
    summary="SageMaker Debugger's built-in rules with their default parameters, as its developer guide lists them",
    rules=[
        Rule("VanishingGradient", "vanishing", vanishing_gradient),
        Rule("ExplodingTensor", "diverged", not_finite),
        Rule("DeadRelu", "dead", dead_relu),
        Rule("SaturatedActivation", "saturated", saturated_activation),
        Rule("PoorWeightInitialization", OTHER, poor_weight_initialization),
        Rule("WeightUpdateRatio", OTHER, weight_update_ratio),
        Rule("LossNotDecreasing", "not-learning", loss_not_decreasing),
        Rule("UnchangedTensor", OTHER, unchanged_tensor),
    ],
)
