"""The switch of the next backward pass: where it holds, and where it ends."""

import threading

import pytest

from spacy_transfer.backbones.shims.retained_graph import is_graph_kept, keep_graph


def test_the_switch_holds_within():
    assert is_graph_kept() is False
    with keep_graph():
        assert is_graph_kept() is True
        with keep_graph(False):
            assert is_graph_kept() is False
        assert is_graph_kept() is True
    assert is_graph_kept() is False


def test_it_ends_with_an_error():
    with pytest.raises(KeyError), keep_graph():
        raise KeyError
    assert is_graph_kept() is False


def test_it_is_that_of_one_thread():
    found = []
    with keep_graph():
        thread = threading.Thread(target=lambda: found.append(is_graph_kept()))
        thread.start()
        thread.join()
    assert found == [False]
