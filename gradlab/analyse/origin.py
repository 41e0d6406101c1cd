"""Who trained a cell, read off its columns: gradlab its own net, `gradlab watch` a user's, or the user's own loop."""

from __future__ import annotations

from collections.abc import Mapping

OWN_LOOP = "a loop of one's own"
"""The data set of a cell that a recorder has written: what it trained on, only its author knows."""


def is_users(cell: Mapping[str, object]) -> bool:
    """Whether a cell is a model of the user's own, which no configuration of gradlab describes."""
    return str(cell.get("init", "own")) == "own"


def is_watched(cell: Mapping[str, object]) -> bool:
    """Whether `gradlab watch` trained a cell, so that it can be trained again."""
    return cell.get("init") == "own" and cell.get("dataset", OWN_LOOP) != OWN_LOOP
