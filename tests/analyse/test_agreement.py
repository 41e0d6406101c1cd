"""Whether finite width explains a difference from the prediction: on nets drawn by hand, and on nets made wrong."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from gradlab.analyse.agreement import agreement


def relu_records(scale_of_layer_5: float, seeds: int = 12, depth: int = 10, width: int = 100) -> pd.DataFrame:
    """layers.csv rows at step 0 of bias-free He-ReLU nets by plain NumPy; one layer's weights may be rescaled.

    For ReLU at sigma_w^2 = 2 the prediction is delta_rms of the readout times sqrt(outputs / width) / sqrt(1/2 * 2)
    a layer: E delta_l^2 = E[phi'^2] (sigma_w^2 / fan_in) fan_out E delta_(l+1)^2 with E[phi'^2] = 1/2.
    """
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        sizes = [30, *[width] * depth, 10]
        weights = [rng.normal(0, np.sqrt(2 / i), (i, o)) for i, o in pairwise(sizes)]
        weights[5] *= scale_of_layer_5
        h, zs = rng.normal(size=(40, 30)), []
        for weight in weights:
            zs.append(h @ weight)
            h = np.maximum(zs[-1], 0)
        delta = rng.normal(size=(40, 10))
        deltas = [delta]
        for weight, z in zip(weights[:0:-1], zs[-2::-1], strict=True):
            delta = (delta @ weight.T) * (z > 0)
            deltas.insert(0, delta)
        top = np.sqrt((deltas[-1] ** 2).mean())
        for layer, (z, d) in enumerate(zip(zs, deltas, strict=True), 1):
            predicted = top * np.sqrt(0.5 * 2 / width * 10) if layer <= depth else np.nan
            rows.append(
                {
                    "activation": "relu",
                    "init": "he",
                    "norm": "none",
                    "residual": "none",
                    "seed": seed,
                    "step": 0,
                    "layer": layer,
                    "fan_in": sizes[layer - 1],
                    "fan_out": sizes[layer],
                    "delta_rms": np.sqrt((d**2).mean()),
                    "delta_rms_predicted": predicted,
                    "z_std": z.std(),
                }
            )
    return pd.DataFrame(rows)


def test_random_nets_scatter_inside_the_band() -> None:
    found = agreement(relu_records(1.0))
    assert found is not None
    assert (found.low < 1).all() and (found.high > 1).all()
    assert not found.outside.any()
    assert found.high[0] / found.low[0] > found.high[-1] / found.low[-1], "the band widens on the way down"


def test_a_layer_drawn_wrong_is_outside_from_there_down() -> None:
    found = agreement(relu_records(3.0))
    assert found is not None
    assert found.outside.tolist() == [True] * 5 + [False] * 5


def test_more_seeds_narrow_the_band() -> None:
    few, many = agreement(relu_records(1.0, seeds=2)), agreement(relu_records(1.0, seeds=12))
    assert few is not None and many is not None
    assert (few.high > many.high).all()


@pytest.mark.parametrize("change", [{"norm": "layer"}, {"activation": "some.module:phi"}, {"init": "lsuv"}])
def test_without_a_plain_net_there_is_a_ratio_but_no_band(change: dict[str, str]) -> None:
    found = agreement(relu_records(1.0, seeds=2).assign(**change))
    assert found is not None and np.isfinite(found.ratio).all()
    assert np.isnan(found.low).all() and not found.outside.any()


def test_nothing_predicted_is_none() -> None:
    assert agreement(relu_records(1.0, seeds=1).assign(delta_rms_predicted=np.nan)) is None
