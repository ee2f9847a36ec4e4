"""Matrix products of Thinc layers by numpy's BLAS."""

import functools
import multiprocessing
import os
from typing import TypeVar

from thinc.api import Model, NumpyOps

ModelT = TypeVar("ModelT", bound=Model)
_HOME = os.getpid()
_OPS = NumpyOps(use_blis=False)


def by_numpy(model: ModelT) -> ModelT:
    """Let the layers of a model on the CPU multiply by numpy. Thinc's blis uses one thread and has no kernels for newer
    processors: it takes two to three times as long (benchmarks/vectors.py). Results agree to rounding. Call this before
    each pass: copies of a model have Thinc's products again. Layers on a GPU or with Apple's BLAS are not changed."""
    if os.getpid() != _HOME and multiprocessing.parent_process() is not None:
        _stay_in_one_thread(os.getpid())
    for node in model.walk():
        if type(node.ops) is NumpyOps:
            node.ops = _OPS
    return model


@functools.cache
def _stay_in_one_thread(pid: int) -> object:
    """Limit BLAS to one thread in a worker of `nlp.pipe(n_process=...)`: workers share the cores."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")
