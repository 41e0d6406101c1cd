"""How often each ruleset is right, on nets whose fault is known from how they were made (docs/detectors.md)."""
