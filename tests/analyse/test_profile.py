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


@given(data=some.data(), records=some.integers(1, 6), layers=some.integers(1, 5), readout=some.booleans())
@settings(max_examples=300, deadline=None)
def test_every_record_is_judged_as_if_it_were_alone(
    data: some.DataObject, records: int, layers: int, readout: bool
) -> None:
    delta = data.draw(arrays.arrays(np.float64, (1, records, layers), elements=DELTA))
    top = data.draw(arrays.arrays(np.float64, (1, records), elements=DELTA))
    present = np.ones((1, records), dtype=bool)
    found = profile(
        Records(
            cell={},
            seeds=np.array([0]),
            steps=np.arange(records),
            layers=np.arange(1, layers + 1),
            names=tuple(f"hidden_{layer}" for layer in range(1, layers + 1)),
            hidden={"delta_rms": delta, "dead_fraction": np.full((1, records, layers), 1.0)},
            output={"delta_rms": top} if readout else {},
            run={},
            in_layers=present,
            in_steps=present,
            rows=np.ones((1, records, layers), dtype=bool),
        )
    )
    for t, row in enumerate(delta[0]):
        decades, cut, cause = np.nan, -1, ""
        if not np.isnan(row[-1]):
            zeros = [layer for layer, value in enumerate(row) if value == 0]
            lowest = zeros[-1] + 1 if zeros else 0  # above it nothing is 0
            if lowest < layers:
                decades = float(attenuation(row[lowest:]))
            above = row[lowest] if lowest < layers else top[0, t] if readout else np.nan
            fits_its_batch = lowest == layers and above == 0
            if zeros and not fits_its_batch:
                cut, cause = lowest - 1, "underflow" if above < 1e-30 else "dead"
        assert (found.cut[0, t], found.cause[0, t]) == (cut, cause)
        np.testing.assert_array_equal(found.decades[0, t], decades)
