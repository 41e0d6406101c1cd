"""Training of one stack: the loop, its batches and its checkpoint."""

EVALUATION_ROWS = 4096
"""Validation rows at a time: bounds memory, changes no result."""
