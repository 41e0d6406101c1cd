"""What to run: defaults, TOML file, environment and flags resolved into one configuration and its grid."""

from gradlab.config.keys import KEYS, Key
from gradlab.config.request import Request
from gradlab.config.resolve import collect, resolve
from gradlab.config.sections import Config, Data, Network, Recording, Run, Training
from gradlab.config.write import schema, starter, to_toml

__all__ = [
    "KEYS",
    "Config",
    "Data",
    "Key",
    "Network",
    "Recording",
    "Request",
    "Run",
    "Training",
    "collect",
    "resolve",
    "schema",
    "starter",
    "to_toml",
]
