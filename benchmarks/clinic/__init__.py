"""How often a diagnosis of other people's programs is right: `python -m benchmarks.clinic`."""
