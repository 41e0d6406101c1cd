"""Training of one stack: the loop, its batches and its checkpoint."""

EVALUATION_ROWS = 512
"""Validation rows at a time: bounds memory, and what a layer makes of them stays in the cache."""
