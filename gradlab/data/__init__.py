"""Data sets: embedded, synthetic, from files. One split, one standardisation; NumPy arrays out.

load("digits")                        the default: real, ships with scikit-learn
load("moons:samples=500:noise=0.1")   drawn, the same on every call
load("train.csv", target="label")     a file of the user's own
load("rooms.csv", csv="sep=;:decimal=,", target="price")   written as spreadsheets do in half of Europe
load("rent.csv", target="price")      numbers to predict, which `task` may say
load("mypackage.tasks:make")          a function of the user's own that returns (X, y)
"""

from gradlab.data.dataset import AUTO, TASKS, Dataset
from gradlab.data.lookup import (
    OTHERS,
    canonical,
    canonical_csv,
    changed,
    check_batch,
    digest,
    is_code,
    load,
    names,
    takes_target,
)

__all__ = [
    "AUTO",
    "OTHERS",
    "TASKS",
    "Dataset",
    "canonical",
    "canonical_csv",
    "changed",
    "check_batch",
    "digest",
    "is_code",
    "load",
    "names",
    "takes_target",
]
