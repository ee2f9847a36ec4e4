"""Matrix products of Thinc layers by numpy."""

import numpy
from thinc.api import Linear, Maxout, NumpyOps, chain

from spacy_transfer.backbones.context import build_cnn_context_v1
from spacy_transfer.backbones.products import by_numpy

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
    layers = [node for node in build_cnn_context_v1().walk() if "W" in node.param_names]
    assert len(layers) == 3
    assert not any(node.ops.use_blis for node in layers)
