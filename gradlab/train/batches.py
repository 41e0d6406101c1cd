"""The sequence of batches of each replica: one endless shuffled stream of the training rows, cut into batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gradlab.nn.draws import generator


class BatchStream:
    """Row numbers for every replica, from its own generator; each pass over the data is a new permutation.

    A batch may reach over the end of a pass, so every row is used equally often and all batches have one size.
    """

    def __init__(self, rows: int, batch_size: int, seeds: Sequence[int]) -> None:
        self.rows, self.batch_size = rows, batch_size
        self.generators = [generator(seed, "batches") for seed in seeds]
        self.left = torch.empty(len(seeds), 0, dtype=torch.int64)  # drawn and not yet used, [replica, row]

    def next(self) -> Tensor:
        """The rows of the next batch, int64 [replica, batch]."""
        while self.left.shape[1] < self.batch_size:
            more = torch.stack([torch.randperm(self.rows, generator=source) for source in self.generators])
            self.left = torch.cat([self.left, more], dim=1)
        batch, self.left = self.left[:, : self.batch_size], self.left[:, self.batch_size :]
        return batch

    def state(self) -> dict[str, Tensor]:
        """Where the stream is, for a checkpoint."""
        places = {
            f"generator/{replica}": source.get_state() for replica, source in enumerate(self.generators)
        }
        return {**places, "left": self.left}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for replica, source in enumerate(self.generators):
            source.set_state(state[f"generator/{replica}"])
        self.left = state["left"]
