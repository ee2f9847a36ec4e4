"""Batches of windows against loops over windows."""

import numpy
import pytest
import torch

from spacy_transfer.backbones.transformer.portions import Portion


def portion(*sizes):
    return Portion(numpy.arange(10, 10 + sum(sizes)), numpy.array(sizes), torch.device("cpu"))


def test_windows_and_their_places():
    found = portion(4, 2, 2)
    assert [window.tolist() for window in found.windows()] == [[10, 11, 12, 13], [14, 15], [16, 17]]
    assert (found.count, found.longest, found.begins.tolist()) == (3, 4, [0, 4, 6])
    assert found.tensor.tolist() == list(range(10, 18))


def test_some_windows():
    found = portion(4, 2, 1).select(numpy.array([0, 2]))
    assert [window.tolist() for window in found.windows()] == [[10, 11, 12, 13], [16]]


@pytest.mark.parametrize("sizes", [(4, 2, 1), (3,), (2, 2)])
def test_rectangle(sizes):
    found, longest = portion(*sizes), sizes[0]
    inputs = found.inputs(pad_id=7)
    wanted = [[*window, *[7] * (longest - len(window))] for window in found.windows()]
    assert inputs["input_ids"].tolist() == wanted
    has_padding = sizes[-1] < longest
    assert ("attention_mask" in inputs) == has_padding
    if has_padding:
        assert inputs["attention_mask"].tolist() == [[1] * n + [0] * (longest - n) for n in sizes]
    states = torch.arange(longest * len(sizes)).view(len(sizes), longest)
    assert states.flatten()[found.inside].tolist() == [
        i for row, n in zip(states.tolist(), sizes, strict=True) for i in row[:n]
    ]
