"""The recorder for any PyTorch model: hooks, passes, meters, records."""
