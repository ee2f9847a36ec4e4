"""Free memory goes back to the system; how much that is worth, benchmarks/memory.py shows."""

import sys

import pytest

from spacy_transfer.backbones.transformer import memory

from ...pipelines import make_pipeline, step


def test_it_is_asked_for_after_every_so_many_pieces(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: calls.append)
    free = memory.FreeMemory(every=100)
    for _ in range(7):
        free.count(40)
    assert calls == [0, 0]


def test_a_system_without_it_is_fine(monkeypatch):
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    free = memory.FreeMemory(every=1)
    free.count(5)
    assert free._pieces == 0


def test_predicting_counts_and_training_does_not(tiny_bert, monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: calls.append)
    nlp, examples, optimizer = make_pipeline(tiny_bert)
    nlp.get_pipe("transfer_backbone").model.shims[0]._free_memory.every = 1
    calls.clear()
    step(nlp, examples, optimizer)
    assert not calls
    list(nlp.pipe(["a dog", "a cat"]))
    assert calls == [0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_it_is_found_here():
    trim = memory._malloc_trim()
    assert trim is None or trim(0) in (0, 1)
