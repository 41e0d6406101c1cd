"""Jacobians of a stack's nets on a few samples, in eval mode: the singular values of each layer and of the whole.

Row 0 is the whole net, d z_output / d x. Row l is hidden layer l's own map, d h_l / d h_(l-1), norm included. With a
residual scheme the layers inside a block have their own map along the branch, the block's last layer that of the
block, from the stream at its entry to the stream at its exit; the stem's is d stream / d x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from gradlab.sensors.sensor import Seen, Sensor, Taken
from gradlab.tables.cell import RECORD
from gradlab.tables.spec import Option, Places, TableSpec, floats, place, predicted

if TYPE_CHECKING:
    from torch import Tensor

    from gradlab.nn.buffered import BufferedPass
    from gradlab.nn.mlp import HiddenLayer, StackedMLP
    from gradlab.parts.random_net import RandomNet
    from gradlab.tables.block import Block

SAMPLES = 8  # rows of the probe; the cost is proportional to them, and to width^3
QUANTILES = (5, 25, 50, 75, 95)

JACOBIAN = TableSpec(
    name="jacobian",
    row="cell, seed, recorded step and Jacobian",
    option=Option(
        "jacobian", "singular values of the layers' Jacobians, in jacobian.csv; slow for wide nets"
    ),
    keys=RECORD,
    axes=("layer",),
    columns=(
        place(
            "layer",
            "int",
            "",
            "hidden layer from 1, or the end of its residual block; 0 is the whole net",
            along="layer",
        ),
        place(
            "name", "str", "", "hidden_1 ... hidden_L, and input_output for d z_output / d x", along="layer"
        ),
        place(
            "samples",
            "int",
            "samples",
            "first rows of the probe, on which the Jacobians are taken in eval mode",
        ),
        *floats(
            ("singular_mean", "", "mean of the Jacobians' singular values, over samples"),
            ("singular_min", "", "smallest singular value of any sample"),
            ("singular_max", "", "largest singular value of any sample"),
            ("singular_p05", "", "5th percentile of the singular values"),
            ("singular_p25", "", "25th percentile of the singular values"),
            ("singular_p50", "", "median of the singular values"),
            ("singular_p75", "", "75th percentile of the singular values"),
            ("singular_p95", "", "95th percentile of the singular values"),
            ("singular_sq_mean", "", "mean square of the singular values"),
            (
                "condition",
                "",
                "largest over smallest singular value, the median sample; inf where a value is 0",
            ),
        ),
        predicted("singular_sq_mean_predicted", "", "mean-field prediction of singular_sq_mean at step 0"),
    ),
)

Map = Callable[["Tensor"], "Tensor"]


class JacobianSensor(Sensor):
    """Takes the singular values before each recorded step, on the first SAMPLES rows of the probe."""

    table = JACOBIAN

    def places(self) -> Places:
        names = ["input_output", *self.observed.names[:-1]]
        return {"layer": range(len(names)), "name": names, "samples": len(self.observed.probe[:SAMPLES])}

    def begin(self, buffered: BufferedPass | None) -> None:
        self._record = jacobian_record(self.observed.mlp, self.observed.probe[:SAMPLES])

    def finish(self) -> Taken:
        import numpy as np
        import torch

        unknown = torch.full((*self._record.shape[:2], 1), torch.nan, dtype=self._record.dtype)
        values = torch.cat([self._record, unknown], dim=2)
        return Taken(values, np.ones(values.shape[1:], dtype=bool))

    @classmethod
    def predict(cls, block: Block, net: RandomNet, seen: Seen) -> None:
        """E||J||_F^2 over the number of singular values.

        For layer l it is sigma_w^2 E[phi'^2] fan_out / min(fan_in, fan_out), chi_1 in a square layer, and the product
        of the layers' for the whole net (Pennington, Schoenholz & Ganguli 2017, eqs. 5 and 16). With layer or rms norm
        the slope is over the norm's scale, all wide (`theory.normed`). Nothing for batch norm, which in eval mode has
        not seen a batch at step 0, and for residual schemes.
        """
        import numpy as np

        from gradlab.theory import Prediction

        if net.norm.over_batch or not net.residual.none:
            return
        prediction = net.predict(np.square(seen.x_train[: block.places["samples"]]).mean(axis=1), 0)
        if prediction is None:
            return
        gain = prediction.slope_sq_samples if isinstance(prediction, Prediction) else prediction.gain
        fan_in, fan_out = np.array(net.fans).T
        narrow = np.minimum(fan_in, fan_out)
        layers = np.square(net.sigma_w[:-1]) * gain.mean(axis=0) * fan_out[:-1] / narrow[:-1]
        factor = prediction.factor[:, 0].mean()
        whole = net.sigma_w[0] ** 2 * fan_out[0] * factor / min(fan_in[0], fan_out[-1])
        block.column("singular_sq_mean_predicted")[:, 0] = np.append(whole, layers)


SENSOR = JacobianSensor


def jacobian_record(mlp: StackedMLP, x: Tensor) -> Tensor:
    """One record: float64 [replica, depth + 1, column] with the measured columns, row 0 the whole net.

    x: [row, feature], the samples. The net is put in eval mode for it; nothing of it changes.
    """
    import torch

    replicas = mlp.readout.weight.shape[0]
    training = mlp.training
    mlp.eval()
    try:
        inputs = x.expand(replicas, -1, -1)
        maps: list[tuple[Map, Tensor]] = [(mlp, inputs), *layer_maps(mlp, inputs)]
        return torch.stack(
            [statistics(singular_values(jacobian(function, at))) for function, at in maps], dim=1
        )
    finally:
        mlp.train(training)


def jacobian(function: Map, at: Tensor) -> Tensor:
    """d function / d input at each sample: [replica, row, in] -> [replica, row, out, in].

    function takes [replica, batch, in] to [replica, batch, out], each sample by itself: a sample is repeated once for
    each output, and copy j sends back the gradient of output j.
    """
    import torch

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
    import torch

    wide = jacobians.detach().cpu().double()
    finite = wide.isfinite().all(dim=-1).all(dim=-1)[..., None]
    values = torch.linalg.svdvals(torch.where(finite[..., None], wide, 0.0))
    rounding = values[..., :1] * max(wide.shape[-2:]) * torch.finfo(jacobians.dtype).eps
    return torch.where(finite, torch.where(values > rounding, values, 0.0), torch.nan)


def statistics(values: Tensor) -> Tensor:
    """[replica, row, k] singular values -> [replica, column]: pooled over samples, but for the condition's median."""
    import torch

    from gradlab.nn import statistics as st

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
    return torch.stack([found[name] for name in JACOBIAN.measured], dim=1)


def layer_maps(mlp: StackedMLP, x: Tensor) -> Iterator[tuple[Map, Tensor]]:
    """The map of each hidden layer with the point it is taken at, [replica, row, in]."""
    import torch

    layers = mlp.layers
    start = 0  # the first layer of the block
    entry = h = x
    stream: Tensor | None = None
    for number, layer in enumerate(layers):
        summed = layer.skip.scheme.summed
        if layer.skip.ends:
            yield _block_map(layers, start, number, summed), entry
        elif layer.skip.stem and summed:
            yield partial(_stream_of, layer), h
        else:
            yield partial(_signal_of, layer), h
        with torch.no_grad():
            h, stream = layer(h, stream)
        if layer.skip.stem or layer.skip.ends:
            start = number + 1
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
