"""The theory's numbers beside those of the first record."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradlab.recorder.foretold import band
from gradlab.recorder.ledger import Key, Record
from gradlab.recorder.passes import ForwardPass


@np.errstate(all="ignore")  # weights and gradients may be anything
def predicted(passes: Sequence[ForwardPass], record: Record) -> dict[Key, tuple[float, float]]:
    """`delta_rms_predicted` and its band, of each row that theory says something of, in a record that has its
    delta_rms."""
    read = [forward for forward in passes if forward.reading is not None and forward.backward]
    if not read:
        return {}
    reading = read[0].reading
    assert reading is not None
    first = {key for key, call in read[0].calls.items() if call.numbers.delta_of == 0}
    measured = {key: rms for key, rms in record.column("delta_rms").items() if key in first}
    return {key: (each.delta_rms, band(each.noise)) for key, each in reading.predict(measured).items()}
