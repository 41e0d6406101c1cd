"""Training of one stack: losses, optimisers, rate schedules, the loop."""
