"""Which numbers a record holds, in which order: read off the schema, so that a table and a record cannot differ."""

from __future__ import annotations

from functools import lru_cache

from gradlab.tables import schema

STATIC = (
    "seed",
    "step",
    "layer",
    "name",
    "fan_in",
    "fan_out",
    "batch",
    "samples",
    "quantity",
)  # not measured
DERIVED = ("delta_rms_predicted", "singular_sq_mean_predicted")  # the theory's, added after the run

BY_COMPARISON = (
    "slope_sq", "saturated_fraction", "dead_fraction", "low_activity_fraction", "deaths", "revivals",
    "batch_dead_fraction", "zero_fraction",
)  # fmt: skip
"""Columns that are empty where z is not finite: comparisons with NaN are false, so that a diverged net would look free
of dead and saturated units."""


@lru_cache(maxsize=2)
def layer_columns(metrics: str) -> tuple[str, ...]:
    """The measured columns of layers.csv, for `--metrics standard` or `full`."""
    names = [name for name in schema.names(schema.LAYERS) if name not in STATIC + DERIVED]
    return tuple(names + (schema.names(schema.LAYERS_FULL) if metrics == "full" else []))


STEP_COLUMNS = tuple(name for name in schema.names(schema.STEPS) if name not in STATIC)

JACOBIAN_COLUMNS = tuple(name for name in schema.names(schema.JACOBIAN) if name not in STATIC + DERIVED)

QUANTITIES = ("z", "h", "delta")
HISTOGRAM_COLUMNS = tuple(name for name in schema.names(schema.HISTOGRAMS) if name not in STATIC)
