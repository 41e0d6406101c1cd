"""What is measured of a layer: every column of layers.csv that is measured, its definition and its arithmetic, once.

`sensors.layers` calls these functions for gradlab's own stacks, several layers at a time, and `recorder` for any model.
Tensors come without a graph: signals as [replica, sample, unit], parameters as [replica, entry]; the first axis may
also run over the replicas of several layers. A function returns `Found`, its columns with one number a replica each.
A unit is a feature or a channel; where a layer has more axes than samples and units (time, place), each of their
points counts as a sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot, inf, nan, sqrt
from numbers import Real
from operator import mul

import torch
from torch import Tensor
from torch.nn.functional import pad

from gradlab.activations.spec import Interval
from gradlab.base import generators
from gradlab.base.own import Own
from gradlab.nn import statistics as st
from gradlab.nn.statistics import Numbers
from gradlab.nn.workspace import EXACT_COUNT, Workspace

SATURATED_BELOW = 0.05  # share of sup|phi'|
LOW_ACTIVITY_BELOW = 0.01  # share of the probe's samples
COMPARED_SAMPLES, COMPARED_ENTRIES = 64, 1 << 17  # of the probe, between which cosines are taken

RANKED_ROWS = 128  # of the probe, of whose activations the effective rank is taken

LARGEST_INVERSE = 1e30  # of a length, with which float32 can be multiplied safely

NONFINITE = "nonfinite"
GRADIENT_NORMS = ("weight_grad_norm", "bias_grad_norm")
UPDATE = ("update_ratio", "update_mean_abs")
GAINS = ("weight_gain", "slope_gain", "norm_gain", "other_gain")

Found = dict[str, Numbers]

BELOW_ZERO: tuple[Interval, ...] = ((-inf, 0.0),)


# -- the probe ---------------------------------------------------------------------------------------------------


def signal(z: Tensor, space: Workspace) -> Found:
    """z_mean, z_std: mean and population standard deviation of z; of a complex z the deviation alone."""
    if z.is_complex():
        rows = space.rows(z)
        return {"z_std": st.root_mean_squares((rows - rows.mean(dim=1, keepdim=True)).abs())}
    mean, std = space.mean_std(z)
    return {"z_mean": mean, "z_std": std}


def activation(h: Tensor, space: Workspace, full: bool) -> Found:
    """h_mean, h_rms: mean and root mean square of h = phi(z); h_p95_abs, where `full`: 95th percentile of |h|."""
    found: Found = {"h_mean": space.mean(h), "h_rms": space.rms(h)}
    return found | {"h_p95_abs": st.percentile(space.rows(h).abs(), 0.95)} if full else found


def first_samples(h: Tensor, copy: bool = True) -> Tensor:
    """A copy [replica, sample, entry] of the samples of h, [replica, sample, ...], that `alike` compares: the first 64,
    or as many as make a small array. Complex entries come as their absolute values, halves as float32. Without `copy`
    it may be part of h."""
    rows = h.flatten(2) if h.dim() > 2 else h.unsqueeze(2)
    few = rows[:, : max(2, min(COMPARED_SAMPLES, COMPARED_ENTRIES // max(rows.shape[2], 1)))]
    few = few.abs() if few.is_complex() else few
    if few.dtype not in (torch.float32, torch.float64):
        return few.float()
    return few.clone() if copy else few


def alike(few: Tensor) -> Found:
    """sample_correlation: mean cosine between the activations of two different samples, of those that are not all 0.

    few: from `first_samples`, [layer * replica, sample, entry]. With unit vectors u_i, |sum u_i|^2 is their number and
    the cosines of all ordered pairs. It is summed in the format of h, whose lengths are taken in float64.
    """
    wide = st.wide_dtype(few)
    lengths = torch.linalg.vector_norm(few, dim=2, dtype=wide)
    inverse = torch.where(lengths > 0, 1 / lengths, 0.0)
    if few.device.type != "cpu" or float(inverse.max()) > LARGEST_INVERSE:
        few = few.to(wide)
    whole = torch.bmm(inverse.to(few.dtype).unsqueeze(1), few).squeeze(1).to(wide)
    count = (lengths > 0).sum(dim=1)
    mean = (whole.square().sum(dim=1) - count) / (count * (count - 1))
    return {"sample_correlation": torch.where(count > 1, mean, torch.nan)}


def first_positions(h: Tensor, copy: bool = True) -> Tensor:
    """A copy [sample, position, unit] of the part of h that `tokens_alike` compares, from h of the same axes: the first
    64 positions of so many samples as make a small array. Without `copy` it may be part of h."""
    positions = h.narrow(1, 0, min(COMPARED_SAMPLES, h.shape[1]))
    samples = max(1, min(len(h), COMPARED_ENTRIES // max(positions[0].numel(), 1)))
    return first_samples(positions[:samples], copy)


def tokens_alike(few: Tensor) -> Found:
    """token_correlation: mean cosine between the activations at two positions of a sample, of those that are not all 0,
    and over the samples that have two such; 1 is rank collapse (Dong et al. 2021).

    few: from `first_positions`, [layer, sample, position, unit]
    """
    each = st.as_tensor(alike(few.flatten(0, 1))["sample_correlation"]).view(few.shape[:2])
    return {"token_correlation": each.nanmean(dim=1)}


def some_rows(h: Tensor) -> Tensor:
    """A copy [replica, row, unit] of the rows of h, [replica, sample, unit], whose rank is taken: 128, evenly."""
    rows = h[:, :: max(1, h.shape[1] // RANKED_ROWS)][:, :RANKED_ROWS]
    return rows.to(torch.complex128 if h.is_complex() else torch.float64, copy=True)


def effective_rank(rows: Tensor) -> Found:
    """effective_rank: exp of the entropy of the singular values, divided by their sum (Roy and Vetterli 2007): n where
    n directions have the same share, 1 where all samples lie on one line through 0; nan where h is 0 or not finite.

    rows: from `some_rows`, [layer * replica, row, unit]
    """
    sound = rows.isfinite().all(-1).all(-1)
    values = torch.linalg.svdvals(torch.where(sound[:, None, None], rows, 0.0))
    whole = values.sum(-1)
    share = values / whole.clamp(min=torch.finfo(values.dtype).tiny).unsqueeze(-1)
    rank = torch.special.entr(share).sum(-1).exp()
    return {"effective_rank": torch.where(sound & (whole > 0), rank, torch.nan)}


def users(own: Mapping[str, Own], h: Tensor) -> Found:
    """The columns of the user's own, by name: a function each of one layer's h of one replica, [sample, unit].

    It gets a copy, and what it draws leaves no trace. Raises ConfigError for whatever it cannot do, and where it does
    not return one number.
    """
    return {name: [_number(of, replica) for replica in h] for name, of in own.items()}


def _number(own: Own, h: Tensor) -> float:
    with own.running(), generators.kept(h.device.type), torch.no_grad():
        found = own.attribute(h.detach().clone(), **own.arguments)
        if isinstance(found, Real) or (
            isinstance(found, Tensor) and found.numel() == 1 and not found.is_complex()
        ):
            return float(found)
    made = f"a tensor {[*found.shape]}" if isinstance(found, Tensor) else type(found).__name__
    raise own.refused(f"gave {made} for a layer's h", "one number")


def slopes(slope: Tensor, steepest: float | Tensor, space: Workspace) -> Found:
    """slope_sq: mean square of phi'(z); saturated_fraction: share of entries with |phi'(z)| < 0.05 sup|phi'|.

    slope: phi'(z), which is written over; steepest: sup|phi'|, a number or a tensor that fits z
    """
    squares = st.each(lambda root: root * root, space.rms(slope))
    saturated = torch.lt(slope.abs_(), SATURATED_BELOW * steepest, out=space.mask(slope))
    return {"slope_sq": squares, "saturated_fraction": space.share(saturated)}


def two_slopes(inside: Tensor, samples: int, first: float | Tensor, second: float) -> Found:
    """As `slopes`, [layer, replica], where phi' takes two values alone.

    inside: samples of each unit with the slope `first`, [layer, replica, unit]; the rest of `samples` have `second`
    first:  a number, or [layer, replica, unit or 1]
    """
    inside = inside.to(st.wide_dtype(inside))
    rest, entries = samples - inside, samples * inside.shape[-1]
    slope = first if isinstance(first, Tensor) else inside.new_full((), first)
    edge = SATURATED_BELOW * slope.abs().clamp(min=abs(second))
    squares = inside * slope.square() + rest * second**2
    saturated = inside * (slope.abs() < edge) + rest * (edge > abs(second))
    return {"slope_sq": squares.sum(dim=-1) / entries, "saturated_fraction": saturated.sum(dim=-1) / entries}


def learned_slope(alpha: Tensor) -> Found:
    """alpha: the learned parameter of an activation, [replica, ...]; its mean where there are several."""
    return {"alpha": st.means(alpha)}


# -- units that pass no gradient ---------------------------------------------------------------------------------


def samples_inside(
    intervals: Sequence[Interval], z: Tensor, space: Workspace, axes: tuple[int, ...] = (1,)
) -> Tensor:
    """On how many samples z lies in one of the closed intervals, which do not overlap, for each unit: [replica, unit].

    With the flat parts of phi, that is where a unit is inactive. axes: those of z that count samples
    """
    mask = space.mask(z)
    exact = None if z.numel() < EXACT_COUNT else st.wide_dtype(z)
    counts = []
    for low, high in intervals:
        if low == -inf:
            torch.le(z, high, out=mask)
        elif high == inf:
            torch.ge(z, low, out=mask)
        else:
            mask.copy_((z >= low) & (z <= high))
        counts.append(mask.sum(dim=axes, dtype=exact))
    if not counts:
        return mask.new_zeros([size for axis, size in enumerate(z.shape) if axis not in axes])
    return counts[0] if len(counts) == 1 else torch.stack(counts).sum(dim=0)


def dead_units(inactive: Tensor, samples: int) -> tuple[Tensor, Found]:
    """Which units phi is flat for on every sample of the probe, and two shares of units:

    dead_fraction: of those; low_activity_fraction: of units for which phi is not flat on fewer than 1 % of the samples.

    inactive: samples on which phi is flat, [..., unit]; numbers are [...]
    """
    dead, rarely = inactive == samples, samples - inactive < LOW_ACTIVITY_BELOW * samples
    return dead, {"dead_fraction": _share(dead), "low_activity_fraction": _share(rarely)}


def changes(dead: Tensor, before: Tensor) -> Found:
    """deaths, revivals: units that are dead now and were not at the record before, and the other way round.

    dead, before: boolean [..., unit]; numbers are [...]
    """
    return {"deaths": (dead & ~before).sum(dim=-1), "revivals": (before & ~dead).sum(dim=-1)}


def dead_on_batch(inactive: Tensor, samples: int, rectified: bool = False) -> Found:
    """batch_dead_fraction: share of units for which phi is flat on every sample of the batch; and where phi(z) is
    max(z, 0), zero_fraction: h is 0 exactly where phi is flat.

    inactive: samples on which phi is flat, [..., unit]; numbers are [...]
    """
    found: Found = {"batch_dead_fraction": _share(inactive == samples)}
    if rectified:
        wide = st.wide_dtype(inactive)
        found["zero_fraction"] = inactive.sum(dim=-1, dtype=wide) / (samples * inactive.shape[-1])
    return found


def zeros(nonzeros: Numbers, entries: int) -> Found:
    """zero_fraction: share of the batch's h that is exactly 0, from how many of its entries are not."""
    return {"zero_fraction": _rest(nonzeros, entries)}


def _share(mask: Tensor) -> Tensor:
    """Of the last axis of a boolean mask, wide."""
    return mask.sum(dim=-1, dtype=st.wide_dtype(mask)) / mask.shape[-1]


def _rest(count: Numbers, entries: int) -> Numbers:
    """The share of the entries that were not counted."""
    return st.each(lambda number: (entries - number) / entries, count)


# -- gradients ---------------------------------------------------------------------------------------------------


def nonfinite(x: Tensor, space: Workspace) -> Found:
    """nonfinite: number of NaN and infinite entries; nothing where the CPU sees at once that there are none."""
    return {} if st.surely_finite(x) else {NONFINITE: st.nonfinite(space.rows(x))}


def delta(gradient: Tensor, space: Workspace) -> Found:
    """delta_rms: root mean square of one sample's own error.

    gradient: of the loss by z, [replica, sample, unit]. The loss is a mean over the samples, so that one sample's own
    error is that times their number.
    """
    return {"delta_rms": st.each(lambda root: root * gradient.shape[1], space.rms(gradient))}


def delta_of_passes(
    norms: Sequence[Tensor | float], samples: Sequence[float], entries: int, scale: Tensor | None
) -> Found:
    """delta_rms of a batch that went through in several passes, or whose loss is no mean over its samples.

    norms: of the gradient by z in each pass, [replica] or a number; samples: what turns it into one sample's own error;
    entries: of z (a replica) in all passes; scale: what the loss was multiplied by
    """
    numbers = [norm for norm in norms if not isinstance(norm, Tensor)]
    if len(numbers) == len(norms):
        error = hypot(*map(mul, samples, numbers))
        return {"delta_rms": [error / (1.0 if scale is None else float(scale)) / sqrt(entries)]}
    first, norm = samples[0], torch.as_tensor(norms[0])
    for more, other in zip(samples[1:], norms[1:], strict=True):
        norm = torch.hypot(norm, torch.as_tensor(other) * (more / first))
    return {"delta_rms": st.as_tensor(unscaled(norm, scale)) * (first / sqrt(entries))}


def gains(start: Numbers, way: Sequence[tuple[str, Numbers]]) -> Found:
    """weight_gain, slope_gain, norm_gain, other_gain: by what factor each part changes the gradient's root mean square
    on its way from one layer's z down to the z of the layer below.

    start: delta_rms of the layer above; way: the root mean square behind each part, top down, named by the part's
    column. The last one is the lower layer's delta_rms, so that the product of all gains is the ratio of the two.
    A part that is passed twice counts with the product of both. Where nothing comes in, a gain does not exist: NaN; nor
    does other_gain where it is exactly 1, for nothing else lies on the way then.
    """
    found: Found = {}
    before = start
    for column, after in way:
        factor = _factor(before, after)
        found[column] = _product(found[column], factor) if column in found else factor
        before = after
    if (rest := found.get("other_gain")) is not None:
        found["other_gain"] = (
            rest.where(rest != 1, nan) if isinstance(rest, Tensor) else [nan if x == 1 else x for x in rest]
        )
    return found


def _factor(before: Numbers, after: Numbers) -> Numbers:
    if isinstance(before, list) and isinstance(after, list):
        return [b / a if a > 0 else nan for a, b in zip(before, after, strict=True)]
    before, after = st.as_tensor(before), st.as_tensor(after)
    return torch.where(before > 0, after / before, torch.nan)


def _product(one: Numbers, other: Numbers) -> Numbers:
    if isinstance(one, list) and isinstance(other, list):
        return [a * b for a, b in zip(one, other, strict=True)]
    return st.as_tensor(one) * st.as_tensor(other)


def weight_gradient(
    rows: Tensor, space: Workspace, full: bool, entries: int, scale: Tensor | None = None
) -> Found:
    """weight_grad_norm: L2 norm; weight_grad_mean_abs: mean absolute entry; grad_zero_fraction: share of entries that
    are exactly 0; where `full`, weight_grad_p05 and weight_grad_p95: percentiles of the entries, with their signs.

    rows: [replica, ...], real; of a sparse gradient the entries that are stored; entries: with those that are not
    scale: what the loss was multiplied by
    """
    found: Found = {"weight_grad_norm": space.norm(rows)}
    if entries:
        stored = space.entries(rows)
        mean = space.mean_abs(rows) if stored else found["weight_grad_norm"]  # of nothing: 0
        found["weight_grad_mean_abs"] = st.each(lambda number: number * (stored / entries), mean)
        if full:
            whole = pad(rows.flatten(1), (0, entries - stored)) if stored < entries else rows
            found["weight_grad_p05"] = st.percentile(whole, 0.05)
            found["weight_grad_p95"] = st.percentile(whole, 0.95)
    found = {column: unscaled(numbers, scale) for column, numbers in found.items()}
    return found | {"grad_zero_fraction": _rest(space.nonzeros(rows), entries)} if entries else found


def bias_gradient(rows: Tensor, space: Workspace) -> Found:
    """bias_grad_norm: L2 norm of the biases' gradient, [replica, ...]."""
    return {"bias_grad_norm": space.norm(rows)}


def unscaled(numbers: Numbers, scale: Tensor | None) -> Numbers:
    """Numbers of a gradient whose loss was multiplied by `scale`."""
    if scale is None:
        return numbers
    numbers = st.as_tensor(numbers)
    return numbers / scale.to(numbers.device)


# -- weights -----------------------------------------------------------------------------------------------------


def weight_size(rows: Tensor, space: Workspace) -> Found:
    """weight_norm: L2 norm of the weights, [replica, ...]."""
    return {"weight_norm": space.norm(rows)}


def update(change: Tensor, size: Numbers, space: Workspace, full: bool) -> Found:
    """update_ratio: ||W after - W before|| / ||W before||; update_mean_abs, where `full`: mean absolute entry of it.

    change: W after - W before or its negative, [replica, ...], real; size: ||W before||
    """
    found: Found = {"update_ratio": st.as_tensor(space.norm(change)) / st.as_tensor(size)}
    return found | {"update_mean_abs": space.mean_abs(change)} if full else found
