"""Matrix products of Thinc layers by numpy."""

import multiprocessing
import os

import numpy
from thinc.api import Linear, Maxout, NumpyOps, chain
from threadpoolctl import threadpool_info

from spacy_transfer.backbones import blas as products
from spacy_transfer.backbones.blas import by_numpy
from spacy_transfer.backbones.context import build_cnn_context_v1

RNG = numpy.random.default_rng(0)


def run(model, X, d_Y):
    Y, backprop = model(X, True)
    return Y, backprop(d_Y), [node.get_grad(name) for node in model.walk() for name in node.param_names]


def test_results_and_gradients_are_those_of_thinc():
    X, d_Y = RNG.normal(size=(9, 7)).astype("f"), RNG.normal(size=(9, 5)).astype("f")
    theirs = chain(Maxout(nO=6, nP=3), Linear(nO=5)).initialize(X=X, Y=d_Y)
    ours = by_numpy(theirs.copy())
    assert [node.ops.use_blis for node in theirs.walk()] == [True] * 3
    for a, b in zip(run(ours, X, d_Y), run(theirs, X, d_Y), strict=True):
        for mine, other in zip(a, b, strict=True):
            numpy.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)


def test_other_devices_are_left_alone():
    class Elsewhere(NumpyOps):
        pass

    model = Linear(3, 3)
    model.ops = elsewhere = Elsewhere()
    assert by_numpy(model).ops is elsewhere


def test_our_cnn_multiplies_so():
    model = build_cnn_context_v1()
    model.set_dim("nI", 4)
    model.initialize()
    model.predict([RNG.normal(size=(3, 4)).astype("f")])
    layers = [node for node in model.walk() if "W" in node.param_names]
    assert len(layers) == 3
    assert not any(node.ops.use_blis for node in layers)


def test_a_worker_process_takes_one_thread(monkeypatch):
    asked = []
    monkeypatch.setattr(products, "_stay_in_one_thread", asked.append)
    by_numpy(Linear(3, 3))
    assert asked == []
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    by_numpy(Linear(3, 3))
    assert asked == []  # A process that imported the package itself may use what it has.
    monkeypatch.setattr(products, "_HOME", -1)
    by_numpy(Linear(3, 3))
    assert asked == [os.getpid()]


def test_one_thread_is_what_blas_has_then():
    with products._stay_in_one_thread(os.getpid()):
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        assert pools and {pool["num_threads"] for pool in pools} == {1}
    products._stay_in_one_thread.cache_clear()
