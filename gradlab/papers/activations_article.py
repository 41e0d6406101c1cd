"""The article gradlab grew from: every claim of it, measured, with the verdict its numbers give.

"Aspects of Deep Learning: Activation Functions" explains activation functions to engineers. Each claim has a few
conditions on measured numbers, written down beside the measurement; `claims.decide` turns them into a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradlab.papers import article_gradients, article_learning, article_shapes, article_timing
from gradlab.papers.paper import Paper
from gradlab.papers.rows import Finding

PAPER = Paper(
    name="activations-article",
    title="thirteen claims about activation functions",
    citation="Aspects of Deep Learning: Activation Functions",
    order=23,
)


def reproduce(quick: bool) -> Iterator[Finding]:
    yield from article_learning.non_linearity(quick)
    yield from article_shapes.sigmoid(quick)
    yield from article_gradients.vanishing_sigmoid(quick)
    yield from article_gradients.small_gradients(quick)
    yield from article_shapes.softmax(quick)
    yield from article_shapes.hard_sigmoid(quick)
    yield from article_timing.speed(quick)
    yield from article_gradients.relu(quick)
    yield from article_gradients.zeros(quick)
    yield from article_learning.leaky(quick)
    yield from article_learning.prelu(quick)
    yield from article_shapes.families(quick)
