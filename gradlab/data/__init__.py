"""Data sets: embedded, synthetic, from files. One split, one standardisation; NumPy arrays out.

load("digits")                        the default: real, ships with scikit-learn
load("moons:samples=500:noise=0.1")   drawn, the same on every call
load("train.csv", target="label")     a file of the user's own
"""

from gradlab.data.dataset import Dataset
from gradlab.data.lookup import canonical, check_batch, describe, digest, load, names, takes_target

__all__ = ["Dataset", "canonical", "check_batch", "describe", "digest", "load", "names", "takes_target"]
