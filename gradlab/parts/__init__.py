"""Initialisers, norms, residual schemes, losses, optimisers, schedules: each with all that is known of it."""
