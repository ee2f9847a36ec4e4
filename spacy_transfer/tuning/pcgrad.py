"""PCGrad (Yu et al. 2020, arXiv 2001.06782): of two gradients that conflict, each loses its part along the other. Only
the products of gradients are needed."""

from random import Random

import numpy

from ..types import Floats


def project(products: Floats, random: Random) -> Floats:
    """The weight of each gradient in the sum of all projected gradients.

    Each gradient is compared with the others in random order: if their product is negative, its part along the other is
    removed. Each result is a weighted sum of the original gradients, so that their products are enough to compute it.

    products (Floats): Of all pairs of gradients, shape (n_tasks, n_tasks).
    random (Random): Draws the orders.
    RETURNS (Floats): Shape (n_tasks,); exactly 1 each where no gradients conflict, or products are not finite.
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
    """RETURNS (Floats): Cosines between gradients, from their products; NaN for a gradient of zeros."""
    norms = numpy.sqrt(numpy.diagonal(products))
    lengths = numpy.outer(norms, norms)
    found: Floats = numpy.divide(products, lengths, out=numpy.full_like(lengths, numpy.nan), where=lengths > 0.0)
    return found
