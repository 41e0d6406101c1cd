"""Several optimisers in turn, as in a GAN: a record that is due is taken of each of them."""

from __future__ import annotations

from collections.abc import Sequence

from torch.optim import Optimizer

ROUNDS = 2
"""Turns that a due record waits for an optimiser; one that is not used any more does not come."""


class Turns:
    """Who stepped, and whose record is still to be taken."""

    def __init__(self) -> None:
        self._known: dict[frozenset[int], None] = {}
        self._waited_for: set[frozenset[int]] = set()
        self._patience = 0
        self._mapped: set[frozenset[int]] = set()

    @property
    def unmapped(self) -> bool:
        """Whether a record is still to come that says which paths a turn's gradient takes: one of each turn."""
        return not self._mapped or not self._mapped.issuperset(self._known)

    def mapped(self, optimizers: Sequence[Optimizer]) -> None:
        self._mapped.add(frozenset(id(each) for each in optimizers))

    def now(self, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
        """It is the turn of these; those that were not known before."""
        who = frozenset(id(each) for each in optimizers)
        if not who or who in self._known:
            return []
        self._known[who] = None
        return list(optimizers)

    def name(self, optimizers: Sequence[Optimizer]) -> str:
        """How the optimisers that step together are called: by their class, from the second turn on by its number."""
        place = [*self._known].index(frozenset(id(each) for each in optimizers))
        classes = " and ".join(dict.fromkeys(type(each).__name__ for each in optimizers))
        return classes if place == 0 else f"{classes} {place + 1}"

    def due(self, due: bool) -> bool:
        """Whether the step to come is recorded. due: whether the schedule asks for it"""
        if due:
            self._waited_for = set(self._known)
            self._patience = ROUNDS * len(self._known)
        elif self._waited_for and self._patience:
            self._patience -= 1
        else:
            return False
        return True

    def recorded(self, optimizers: Sequence[Optimizer]) -> None:
        self._waited_for.discard(frozenset(id(each) for each in optimizers))
