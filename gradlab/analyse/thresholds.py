"""The constants that several verdicts share, each with its reason; those of one verdict stand in its file."""

from __future__ import annotations

WEAK_DECADES = 2.0
"""Change of delta_rms between the top hidden layer and layer 1 from which a net that does not learn is called
vanishing or exploding. With a gradient 100 times smaller, 1000 steps move layer 1 as far as 10 steps move the top
layer. On digits, ReLU, tanh, SELU and GELU nets of depth 5 to 50 that learn stay inside +-1.1 in all of training;
sigmoid nets of depth 4 (-1.9) and batch norm at depth 40 (+3.2) still learn, so that it is a fault only in a net
that does not. Finite width scatters a ReLU net by sqrt(5 depth / width) / 4.6 decades (Hanin and Nica 2020), 0.4 at
depth 50 and width 64."""

STRONG_DECADES = 5.0
"""Change from which it is a fault whether the net learns or not: no single rate serves layers whose gradients differ
1e5 times, and with float32's 7 digits the update of one end is lost as soon as the other end's is well scaled."""

UNDERFLOW = 1e-30
"""An exact 0 right below a delta_rms smaller than this is rounding, not death. float32 ends at 1.4e-45; a zero
below a larger delta would need one layer to shrink it 1e15 times."""

ALL = 0.999
"""A share that is 1 but for rounding and for the few samples by which batch and probe differ."""

RECENT = 3
"""Records at the end of a run that speak for its end state; two of them must agree. One batch alone may be odd."""

LEARNING_STEPS = 100
"""Fewer updates than this prove nothing about learning, so no verdict about it is given."""

START_STEPS = 2
"""Records up to this step count as the start: what accuracy an untrained net has by luck."""

GAIN = 0.1
"""A net learns when it closes this share of the gap between its starting (or chance) accuracy and 1. On 360 validation
rows at chance 0.1 that is 0.09, over five standard deviations of a binomial count."""

LOSS_SHARE = 0.5
"""... or when its training loss is below this share of what it started from: it may fit noise, but it fits."""

LOSS_FALL = 0.05
"""Without accuracies: the relative fall of the loss, beyond twice its scatter, that counts as learning."""

BY_CHANCE = 3.0
"""Standard deviations of a guess's accuracy on the probe that a gain must exceed: one guess in 700 does."""

STILL = 0.02
"""Range of a loss, relative to its size, below which it does not move: a mini-batch's scatter, and no learning."""

EXCUSED = 1 / 3
"""Share of that gap that a net must close for a weak fault to be forgiven: one that gains less has been hurt (ReLU with
batch norm at depth 60, where delta grows 10^4.9 times, ends at 0.21 after 1000 steps). On the nets of docs/detectors.md
on which it was chosen nothing depends on it between 1/4 and 1/2."""

KEPT = 0.5
"""Share of its best gain in accuracy that a net must end with for a weak fault to be forgiven: one that fell below
half was hurt. Evaluations of nets that learn scatter by a few points in 0.8."""

MAJORITY = 0.5
"""A verdict is the cell's when it holds in at least this share of its seeds (one of two is a warning worth giving);
in fewer it is told, not given."""

SEVERAL = 3
"""Seeds from which one that learns and one that does not are a fact about the net, and no single accident."""

UNEVEN = 0.9
"""R^2 below which a profile is no straight line, so that its largest single step is named: a step in the middle of
the net has 0.75, an even decay over 0.99."""

STEADY_DECADES = 0.5
"""Total change below which delta is said to keep its size."""
