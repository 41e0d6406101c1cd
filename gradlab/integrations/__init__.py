"""The recorder where users train: Lightning, Hugging Face's Trainer, and experiment trackers."""
