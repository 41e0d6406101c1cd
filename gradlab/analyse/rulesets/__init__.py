"""Detectors on gradlab's records, one file each, found by being there. Each file defines a `RULESET`."""

from __future__ import annotations

import sys

from gradlab.analyse.ruleset import Ruleset
from gradlab.base.registry import Registry, modules_of

_FOUND: list[Ruleset] = [module.RULESET for module in modules_of(sys.modules[__name__])]

RULESETS: Registry[Ruleset] = Registry(
    "ruleset", {rules.name: rules for rules in sorted(_FOUND, key=lambda rules: rules.order)}, own=True
)
