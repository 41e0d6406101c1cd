"""Jacobians of a stack's nets on a few samples, in eval mode: the singular values of each layer and of the whole.

Row 0 is the whole net, d z_output / d x. Row l is hidden layer l's own map, d h_l / d h_(l-1), norm included. With a
residual scheme the layers inside a block have their own map along the branch, the block's last layer that of the
block, from the stream at its entry to the stream at its exit; the stem's is d stream / d x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from gradlab.nn import statistics as st
from gradlab.nn.mlp import HiddenLayer, StackedMLP
from gradlab.tables.columns import JACOBIAN_COLUMNS

JACOBIAN_SAMPLES = 8  # rows of the probe; the cost is proportional to them, and to width^3

Map = Callable[[Tensor], Tensor]
QUANTILES = (5, 25, 50, 75, 95)


def jacobian_record(mlp: StackedMLP, x: Tensor) -> Tensor:
    """One record: float64 [depth + 1, replica, column] with the columns `JACOBIAN_COLUMNS`, row 0 the whole net.

    x: [row, feature], the samples. The net is put in eval mode for it; nothing of it changes.
    """
    replicas = mlp.readout.weight.shape[0]
    training = mlp.training
    mlp.eval()
    try:
        inputs = x.expand(replicas, -1, -1)
        maps: list[tuple[Map, Tensor]] = [(mlp, inputs), *layer_maps(mlp, inputs)]
        return torch.stack([statistics(singular_values(jacobian(function, at))) for function, at in maps])
    finally:
        mlp.train(training)


def jacobian(function: Map, at: Tensor) -> Tensor:
    """d function / d input at each sample: [replica, row, in] -> [replica, row, out, in].

    function takes [replica, batch, in] to [replica, batch, out], each sample by itself: a sample is repeated once for
    each output, and copy j sends back the gradient of output j.
    """
    rows = []
    for row in range(at.shape[1]):
        sample = at[:, row : row + 1].detach()
        with torch.no_grad():
            outputs = function(sample.clone()).shape[2]
        copies = sample.repeat(1, outputs, 1).requires_grad_()
        chosen = torch.diagonal(
            function(copies.clone()), dim1=1, dim2=2
        )  # an in-place function spares the leaf
        rows.append(torch.autograd.grad(chosen.sum(), copies)[0])
    return torch.stack(rows, dim=1)


def singular_values(jacobians: Tensor) -> Tensor:
    """[replica, row, out, in] -> float64 [replica, row, min(out, in)], largest first.

    0 below the rounding of the largest in the Jacobians' own format; NaN for a sample whose Jacobian is not finite.
    """
    wide = jacobians.detach().cpu().double()
    finite = wide.isfinite().all(dim=-1).all(dim=-1)[..., None]
    values = torch.linalg.svdvals(torch.where(finite[..., None], wide, 0.0))
    rounding = values[..., :1] * max(wide.shape[-2:]) * torch.finfo(jacobians.dtype).eps
    return torch.where(finite, torch.where(values > rounding, values, 0.0), torch.nan)


def statistics(values: Tensor) -> Tensor:
    """[replica, row, k] singular values -> [replica, column]: pooled over samples, but for the condition's median."""
    smallest = values[..., -1]
    condition = torch.where(smallest == 0, torch.inf, values[..., 0] / smallest)
    found = {
        "singular_mean": st.mean(values),
        "singular_min": values.amin(dim=(1, 2)),
        "singular_max": values.amax(dim=(1, 2)),
        **{f"singular_p{share:02}": st.percentile(values, share / 100) for share in QUANTILES},
        "singular_sq_mean": st.mean(values.square()),
        "condition": condition.nanquantile(0.5, dim=1, interpolation="higher"),
    }
    return torch.stack([found[name] for name in JACOBIAN_COLUMNS], dim=1)


def layer_maps(mlp: StackedMLP, x: Tensor) -> Iterator[tuple[Map, Tensor]]:
    """The map of each hidden layer with the point it is taken at, [replica, row, in]."""
    layers = mlp.layers
    start = 0  # the first layer of the block
    entry = h = x
    stream: Tensor | None = None
    for place, layer in enumerate(layers):
        summed = layer.skip.scheme.summed
        if layer.skip.ends:
            yield _block_map(layers, start, place, summed), entry
        elif layer.skip.stem and summed:
            yield partial(_stream_of, layer), h
        else:
            yield partial(_signal_of, layer), h
        with torch.no_grad():
            h, stream = layer(h, stream)
        if layer.skip.stem or layer.skip.ends:
            start = place + 1
            entry = stream if summed and stream is not None else h


def _block_map(layers: Sequence[HiddenLayer], start: int, end: int, summed: bool) -> Map:
    """From the stream at a block's entry to the stream at its exit."""

    def run(stream: Tensor) -> Tensor:
        h, carried = stream, stream
        if summed:  # what the block reads is made from the stream by the layer below
            below = layers[start - 1]
            h = below.norm_after(below.activation(below.norm_before(stream.clone())))
        for layer in layers[start : end + 1]:
            h, carried = layer(h, carried)
        return carried

    return run


def _signal_of(layer: HiddenLayer, h: Tensor) -> Tensor:
    return layer(h, None)[0]  # type: ignore[no-any-return]


def _stream_of(layer: HiddenLayer, h: Tensor) -> Tensor:
    return layer(h, None)[1]  # type: ignore[no-any-return]
