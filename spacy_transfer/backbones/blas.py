"""Matrix products of Thinc layers by numpy's BLAS."""

import functools
import multiprocessing
import os
from typing import Any, TypeVar

from thinc.api import Model, NumpyOps

ModelT = TypeVar("ModelT", bound=Model)
_HOME = os.getpid()
_OPS = NumpyOps(use_blis=False)


def by_numpy(model: ModelT) -> ModelT:
    """Let the layers of a model multiply by numpy on the CPU. Thinc's blis takes one thread and, for want of kernels
    for newer processors, two to three times as long (benchmarks/vectors.py); results agree to rounding. To be called
    wherever layers run: copies of a model, and one that comes back from a GPU, have Thinc's products again.

    model (Model): On whatever device; layers on a GPU, or with Apple's BLAS, are left alone.
    """
    if os.getpid() != _HOME and multiprocessing.parent_process() is not None:
        _stay_in_one_thread(os.getpid())
    for node in model.walk():
        if type(node.ops) is NumpyOps:
            node.ops = _OPS
    return model


@functools.cache
def _stay_in_one_thread(pid: int) -> Any:
    """In a worker of `nlp.pipe(n_process=...)`, once: workers share the cores."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")
