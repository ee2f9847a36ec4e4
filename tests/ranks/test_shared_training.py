"""Ranks against one process: gradients, weights, losses, and all that hangs on them."""

import numpy
import pytest
import spacy
from spacy.training import Example

from spacy_transfer._compat import drop_parser_dropout
from spacy_transfer.pipeline.parameters import flush, parameters_of
from spacy_transfer.ranks.process_group import ProcessGroup
from spacy_transfer.ranks.shared_training import SharedTraining, share

from ..pipelines import make_examples, make_pipeline
from .processes import run_ranks


def arrays_of(nlp, what):
    """Weights or gradients by name, as arrays."""
    found = {}
    for name, pipe in nlp.pipeline:
        flush(pipe)
        for named in parameters_of(name, pipe):
            value = named.parameter.value if what == "value" else named.parameter.gradient
            if value is not None:
                found[named.name] = numpy.array(value)
    return found


def step(nlp, batch, optimizer, *, accumulate=1, exclude=(), losses=None):
    """As `spacy train` makes a step."""
    from spacy.training.loop import subdivide_batch

    losses = {} if losses is None else losses
    for part in subdivide_batch(batch, accumulate):
        nlp.update(part, sgd=False, losses=losses, exclude=list(exclude))
    for name, pipe in nlp.pipeline:
        if name not in exclude and getattr(pipe, "is_trainable", False):
            pipe.finish_update(optimizer)
    optimizer.step_schedules()
    return losses


class Sees:
    """An optimizer that remembers the gradients of a step, and changes nothing."""

    def __init__(self):
        self.found, self.averages, self.use_radam = {}, None, False

    def __call__(self, key, weights, gradient, *, lr_scale=1.0):
        self.found.setdefault(key[1], []).append(numpy.array(gradient))
        gradient[...] = 0
        return weights, gradient

    def step_schedules(self):
        """As optimizers have it."""


def one_step(rank, make, batch_of, size, settings):
    """Gradients that the optimizer gets, and losses."""
    nlp, examples = make()
    group = ProcessGroup(60) if size > 1 else None
    training = SharedTraining(nlp, group) if group else None
    sees = Sees()
    losses = step(nlp, batch_of(examples), sees, **settings)
    if group:
        training.stop()
        group.close()
    return sees.found, losses


def compare(make, batch_of=list, size=2, **settings):
    """A step of several ranks against that of one process."""
    (alone, losses), ranks = one_step(0, make, batch_of, 1, settings), run_ranks(
        one_step, make, batch_of, size, settings, size=size
    )
    for found, own_losses in ranks:
        assert found.keys() == alone.keys()
        for name, given in alone.items():
            for one, other in zip(given, found[name], strict=True):
                assert numpy.abs(one - other).max(initial=0) <= 1e-6 * max(1.0, numpy.abs(one).max(initial=0)), name
        assert own_losses == pytest.approx(losses, rel=1e-4)
    assert any(numpy.abs(one).max(initial=0) > 0 for given in alone.values() for one in given)
    return alone, losses


def makes(source, heads=("tagger",), **settings):
    def make():
        nlp, examples, _ = make_pipeline(source, heads, **settings)
        for _, pipe in nlp.pipeline:
            drop_parser_dropout(pipe.model)
        return nlp, examples * 2

    return make


def test_shares_are_whole_and_alike():
    nlp = spacy.blank("en")
    batch = [Example(nlp.make_doc("a " * n), nlp.make_doc("a " * n)) for n in range(1, 12)]
    for size in (1, 2, 3, 12):
        shares = [share(batch, rank, size) for rank in range(size)]
        assert sorted(id(eg) for own in shares for eg in own) == sorted(map(id, batch))
        words = [sum(len(eg.predicted) for eg in own) for own in shares]
        assert max(words) - min(words) <= 11
    assert [len(share(batch, rank, 12)) for rank in range(12)] == [1] * 11 + [0]


def test_torch_and_thinc_get_the_gradients_of_one_process(tiny_bert):
    compare(makes(tiny_bert, ("tagger", "textcat", "ner", "parser", "spancat", "morphologizer")))
