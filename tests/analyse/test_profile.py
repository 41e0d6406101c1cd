"""The gradient's way down, all records at once, against the same said row by row."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from gradlab.analyse.decay import attenuation
from gradlab.analyse.gradient import profile
from gradlab.analyse.records import Records

DELTA = some.sampled_from([0.0, 0.0, 1.0, 0.3, 1e-4, 1e-31, 1e-40, np.nan, np.inf])


@given(
    data=some.data(),
    records=some.integers(1, 6),
    layers=some.integers(1, 5),
    readout=some.booleans(),
    counted=some.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_every_record_is_judged_as_if_it_were_alone(
    data: some.DataObject, records: int, layers: int, readout: bool, counted: bool
) -> None:
    delta = data.draw(arrays.arrays(np.float64, (1, records, layers), elements=DELTA))
    top = data.draw(arrays.arrays(np.float64, (1, records), elements=DELTA))
    lost = data.draw(arrays.arrays(np.bool_, (1, records, layers)))
    present = np.ones((1, records), dtype=bool)
    hidden = {"delta_rms": delta, "dead_fraction": np.full((1, records, layers), 1.0)}
    output = {"delta_rms": top} if readout else {}
    if counted:
        hidden["nonfinite"] = np.where(np.isnan(delta) & lost, 3.0, 0.0)
        output |= {"nonfinite": np.zeros((1, records))} if readout else {}
    found = profile(
        Records(
            cell={},
            seeds=np.array([0]),
            steps=np.arange(records),
            layers=np.arange(1, layers + 1),
            names=tuple(f"hidden_{layer}" for layer in range(1, layers + 1)),
            hidden=hidden,
            output=output,
            run={},
            in_layers=present,
            in_steps=present,
            rows=np.ones((1, records, layers), dtype=bool),
        )
    )
    for t, row in enumerate(delta[0]):
        has = {layer: value for layer, value in enumerate(row) if not np.isnan(value)}
        has |= {n: np.nan for n in range(layers) if np.isnan(row[n]) and (lost[0, t, n] or not counted)}
        hidden_ones = sorted(has)
        if readout and not np.isnan(top[0, t]):
            has[layers] = top[0, t]
        decades, cut, cause = np.nan, -1, ""
        if hidden_ones and not np.isnan(has[hidden_ones[-1]]):
            zeros = [
                n for n in hidden_ones if all(has[m] == 0 for m in hidden_ones if m <= n)
            ]  # nothing below is not 0
            higher = [n for n in sorted(has) if not zeros or n > zeros[-1]]
            above = has[higher[0]] if higher else np.nan
            if higher and higher[0] < layers:
                decades = float(attenuation(np.array([above, has[hidden_ones[-1]]])))
            fits_its_batch = higher == [layers] and above == 0
            if zeros and not fits_its_batch:
                cut, cause = zeros[-1], "underflow" if above < 1e-30 else "dead"
        assert (found.cut[0, t], found.cause[0, t]) == (cut, cause)
        np.testing.assert_array_equal(found.decades[0, t], decades)
