"""The supervised contrastive loss, against a loop over pairs and its gradient by torch."""

import numpy
import pytest
import torch
from thinc.api import NumpyOps

from spacy_transfer.heads.contrast import supervised_contrast


def by_loop(vectors, labels, temperature):
    """Texts without a label (None) are left out."""
    total = vectors.sum() * 0.0
    known = [i for i, label in enumerate(labels) if label is not None]
    for i in known:
        others = [j for j in known if j != i]
        partners = [j for j in others if labels[j] == labels[i]]
        for j in partners:
            similarities = torch.stack([vectors[i] @ vectors[k] for k in others]) / temperature
            total = total - (vectors[i] @ vectors[j] / temperature - similarities.logsumexp(0)) / len(partners)
    return total


CASES = {
    "several of each": ["a", "b", "a", "c", "b", "a", "c"],
    "one alone": ["a", "b", "a", "c", "b"],
    "without a label": ["a", None, "a", "b", None, "b"],
    "no pair": ["a", "b", "c"],
    "all alike": ["a", "a", "a"],
    "a single text": ["a"],
    "nothing known": [None, None],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_loss_and_gradient(case, temperature):
    labels = CASES[case]
    made = numpy.random.default_rng(0).normal(size=(len(labels), 4))
    vectors = torch.tensor(made / numpy.linalg.norm(made, axis=1, keepdims=True), requires_grad=True)
    known = numpy.array([label is not None for label in labels], dtype="d")
    alike = numpy.array([[a == b for b in labels] for a in labels], dtype="d")
    loss, gradient = supervised_contrast(NumpyOps().xp, vectors.detach().numpy(), alike, known, temperature)
    wanted = by_loop(vectors, labels, temperature)
    wanted.backward()
    assert loss == pytest.approx(wanted.item(), abs=1e-9)
    numpy.testing.assert_allclose(gradient, vectors.grad.numpy(), atol=1e-9)
    assert (abs(gradient).max() > 1e-3) == (case in list(CASES)[:3] + ["all alike"])
