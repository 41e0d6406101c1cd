"""What is recorded in a pass of a stack: a sensor a table, one file each.

The sensors of `gradlab.sensors.extra` are found by being there. Each has its switch in [recording], its table and
its property of a result; nothing else knows of it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from gradlab.base.registry import modules_of
from gradlab.sensors import extra
from gradlab.tables.attention import ATTENTION
from gradlab.tables.layers import layer_table
from gradlab.tables.spec import TableSpec
from gradlab.tables.steps import STEPS, STEPS_OF_ANY_MODEL
from gradlab.tables.summary import FAILURES, SUMMARY
from gradlab.tables.time import TIME

if TYPE_CHECKING:
    from gradlab.sensors.sensor import Sensor


@cache
def optional() -> dict[str, type[Sensor]]:
    """The sensors that are switched on, by the name of their table. Importing them loads no torch."""
    found: dict[str, type[Sensor]] = {}
    for module in modules_of(extra):
        sensor: type[Sensor] = module.SENSOR
        assert sensor.table.option is not None, f"{module.__name__}: nothing switches it on"
        found[sensor.table.name] = sensor
    return found


def beside() -> tuple[str, ...]:
    """The names of the tables that results may have beside layers, steps and summary."""
    return (TIME.name, ATTENTION.name, *optional())


def tables(metrics: str = "full") -> dict[str, TableSpec]:
    """Every table there is, by name; layers.csv with the columns of `--metrics`, and unless these are `standard`
    steps.csv with those of a user's own model."""
    steps = STEPS if metrics == "standard" else STEPS_OF_ANY_MODEL
    every = (
        layer_table(metrics),
        steps,
        SUMMARY,
        TIME,
        ATTENTION,
        *(each.table for each in optional().values()),
        FAILURES,
    )
    return {table.name: table for table in every}
