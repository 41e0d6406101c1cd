"""Data sets: embedded, synthetic, from files. One split, one standardisation; NumPy arrays out.

load("digits")                        the default: real, ships with scikit-learn
load("moons:samples=500:noise=0.1")   drawn, the same on every call
"""

from gradlab.data.dataset import Dataset
from gradlab.data.lookup import canonical, digest, load, names

__all__ = ["Dataset", "canonical", "digest", "load", "names"]
