"""Layer norm against torch's, forward and backward."""

import numpy
import torch

from spacy_transfer.heads.layers import build_layer_norm


def test_against_torch():
    chance = numpy.random.default_rng(0)
    # Rows of small variance, so that epsilon counts.
    given, d_out = (chance.normal(size=(5, 6)).astype("f") * scale for scale in (0.01, 1.0))
    model, other = build_layer_norm(6, 1e-3), torch.nn.LayerNorm(6, eps=1e-3)
    for name, param in (("G", other.weight), ("b", other.bias)):
        torch.nn.init.normal_(param)
        model.set_param(name, param.detach().numpy().copy())
    rows = torch.from_numpy(given.copy()).requires_grad_()
    expected = other(rows)
    expected.backward(torch.from_numpy(d_out))
    out, backprop = model(given, True)
    numpy.testing.assert_allclose(out, expected.detach().numpy(), atol=1e-5)
    numpy.testing.assert_allclose(backprop(d_out), rows.grad.numpy(), atol=1e-4, rtol=1e-4)
    numpy.testing.assert_allclose(model.get_grad("G"), other.weight.grad.numpy(), atol=1e-5)
    numpy.testing.assert_allclose(model.get_grad("b"), other.bias.grad.numpy(), atol=1e-5)
