"""Matrix products of Thinc layers by numpy's BLAS."""

from typing import TypeVar

from thinc.api import Model, NumpyOps

ModelT = TypeVar("ModelT", bound=Model)


def by_numpy(model: ModelT) -> ModelT:
    """Let the layers of a model multiply by numpy on the CPU. Thinc's blis takes one thread and, for want of kernels
    for newer processors, two to three times as long (benchmarks/vectors.py); results agree to rounding.

    model (Model): Built, on whatever device; layers on a GPU, or with Apple's BLAS, are left alone.
    RETURNS (Model): The same model.
    """
    for node in model.walk():
        if type(node.ops) is NumpyOps:
            node.ops = NumpyOps(use_blis=False)
    return model
