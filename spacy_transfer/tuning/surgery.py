"""PCGrad (Yu et al. 2020, arXiv 2001.06782): of two gradients that pull against each other, each gives up what goes
against the other. Works on the gradients' products alone, whatever they are gradients of."""

from random import Random

import numpy
from numpy.typing import NDArray

Floats = NDArray[numpy.float64]


def project(products: Floats, random: Random) -> Floats:
    """What each gradient counts for in the sum of all after projection.

    Each gradient is taken in turn, and for the others in random order: if its product with the other is negative, its
    share along the other is taken away. All that comes of it is a mix of the gradients there were, and products of
    mixes follow from theirs, so the gradients themselves are not needed.

    products (NDArray[float64]): Of all gradients with one another, shape (n_tasks, n_tasks).
    random (Random): Draws the orders.
    RETURNS (NDArray[float64]): Shape (n_tasks,); exactly 1 each where there is no conflict, or products that are not
        finite.
    """
    n_tasks = len(products)
    shares = numpy.ones(n_tasks)
    if not numpy.isfinite(products).all():
        return shares
    for task in range(n_tasks):
        others = [other for other in range(n_tasks) if other != task]
        random.shuffle(others)
        mix = numpy.zeros(n_tasks)
        mix[task] = 1.0
        for other in others:
            product = float(mix @ products[:, other])
            if product < 0.0 < products[other, other]:
                mix[other] -= product / products[other, other]
        mix[task] -= 1.0
        shares += mix
    return shares


def cosines(products: Floats) -> Floats:
    """RETURNS (NDArray[float64]): Of the gradients with one another; NaN with one that is zero.

    products (NDArray[float64]): Shape (n_tasks, n_tasks).
    """
    norms = numpy.sqrt(numpy.diagonal(products))
    lengths = numpy.outer(norms, norms)
    return numpy.divide(products, lengths, out=numpy.full_like(lengths, numpy.nan), where=lengths > 0.0)
