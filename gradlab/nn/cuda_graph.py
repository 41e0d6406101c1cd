"""A pass in buffers as a CUDA graph: recorded once, then launched as a whole.

At these sizes a GPU finishes a kernel sooner than the host can launch the next one; a graph costs one launch for all of
them. Shapes and addresses are fixed by the buffers, nothing is allocated and nothing waits inside.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradlab.nn.buffered import BufferedPass

WARM_UP = 3  # runs before the capture, in which libraries choose their kernels and workspaces


class CapturedPass:
    """The gradients of one stack on batches of one shape, on a CUDA device.

    gradient_of: (outputs, labels) -> gradient of the loss with respect to the outputs
    x, y: a batch, [replica, batch, feature] and [replica, batch]; later ones have the same shapes
    """

    def __init__(
        self, buffered: BufferedPass, gradient_of: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
    ) -> None:
        self.gradients = buffered.gradients
        self._x, self._y = x.clone(), y.clone()
        self._graph = torch.cuda.CUDAGraph()

        def work() -> None:
            buffered.backward(gradient_of(buffered.forward(self._x), self._y))

        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                work()
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(self._graph):
            work()

    def run(self, x: Tensor, y: Tensor) -> None:
        """Fill `gradients` for a batch."""
        self._x.copy_(x)
        self._y.copy_(y)
        self._graph.replay()
