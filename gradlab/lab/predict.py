"""The theory's numbers beside the records of a stack."""

from __future__ import annotations

from gradlab import sensors
from gradlab.config.plan import Stack
from gradlab.data import Dataset
from gradlab.parts.random_net import RandomNet
from gradlab.sensors.layers import LayerSensor
from gradlab.sensors.sensor import Seen, Sensor
from gradlab.store.stack_result import StackResult


def random_net(stack: Stack, result: StackResult) -> RandomNet | None:
    """The nets of a stack as the theory takes them; None where none speaks about them."""
    bound, places = stack.bound, result.layers.places
    fans = list(zip(places["fan_in"], places["fan_out"], strict=True))
    return RandomNet.of(bound.activation, bound.init, bound.norm, bound.residual, fans)


def predict(stack: Stack, result: StackResult, dataset: Dataset) -> None:
    """Fill the predicted columns of every table's first record."""
    net = random_net(stack, result)
    if net is None or not len(result.layers):
        return
    seen = Seen(result.input_sq, dataset.x_train)
    asked = [sensors.optional()[name] for name in stack.recording.asked]
    every: list[type[Sensor]] = [LayerSensor, *asked]
    for sensor in every:
        sensor.predict(result.blocks[sensor.table.name], net, seen)
