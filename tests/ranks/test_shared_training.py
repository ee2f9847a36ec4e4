"""Ranks against one process: gradients, weights, losses, and all that hangs on them.

Guards also: buckets.py, stock_tok2vec.py.
"""

import numpy
import pytest
import spacy
from spacy.training import Example
from thinc.api import SGD, Adam

from spacy_transfer._compat import drop_parser_dropout
from spacy_transfer.backbones.shims.loss_scale import LossScale
from spacy_transfer.backbones.shims.tunable import tunable_shims
from spacy_transfer.pipeline.parameters import flush, parameters_of
from spacy_transfer.ranks.buckets import slots_of
from spacy_transfer.ranks.process_group import ProcessGroup
from spacy_transfer.ranks.shared_training import SharedTraining, share

from ..pipelines import NER, TAGGER, make_examples, make_pipeline
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
    (alone, losses), ranks = (
        one_step(0, make, batch_of, 1, settings),
        run_ranks(one_step, make, batch_of, size, settings, size=size),
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


def with_gold_of(first, second):
    """A batch whose first half has gold of some heads alone, and whose second half has that of others. A share of two
    ranks is made to be one half: its texts are of one length."""

    def batch_of(examples):
        nlp, found = spacy.blank("en"), []
        for given, kinds in zip(examples[:4], (first, second, second, first), strict=True):
            annotation = given.to_dict()
            kept = {"tags": annotation["token_annotation"]["TAG"]} if "tagger" in kinds else {}
            kept |= {"entities": annotation["doc_annotation"]["entities"]} if "ner" in kinds else {}
            kept |= {"cats": annotation["doc_annotation"]["cats"]} if "textcat" in kinds else {}
            doc = nlp.make_doc(" ".join((given.text.split() + ["cat"] * 9)[:6]))
            kept = {key: value if key == "cats" else (value + ["O"] * 9)[:6] for key, value in kept.items()}
            if "tags" in kept:
                kept["tags"] = ["C" if tag == "O" else tag for tag in kept["tags"]]
            found.append(Example.from_dict(doc, kept))
        return found

    return batch_of


def test_heads_without_gold_in_a_share(tiny_bert):
    batch_of = with_gold_of(("tagger",), ("ner",))
    nlp, examples = makes(tiny_bert)()
    batch = batch_of(examples)
    assert [sum(eg.reference.has_annotation("TAG") for eg in share(batch, rank, 2)) for rank in (0, 1)] == [2, 0]
    compare(makes(tiny_bert, ("tagger", "ner")), batch_of)


def stock():
    """spaCy's own encoder sends gradients back when its last head does. Its table of embeddings has many rows."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    config = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 8, "depth": 1}
    config |= {"embed_size": 1500, "window_size": 1, "maxout_pieces": 2, "subword_features": False}
    nlp.add_pipe("tok2vec", config={"model": config})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 8}
    nlp.add_pipe("tagger", config={"model": {**TAGGER, "tok2vec": listener}})
    nlp.add_pipe("ner", config={"model": {**NER, "tok2vec": listener}})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    drop_parser_dropout(nlp.get_pipe("ner").model)
    output = nlp.get_pipe("tagger").model.get_ref("softmax")
    output.set_param("W", numpy.random.RandomState(0).uniform(-1, 1, output.get_param("W").shape).astype("f"))
    return nlp, examples


def test_spacys_own_encoder_and_a_last_head_without_gold():
    found, losses = compare(stock, with_gold_of(("tagger",), ("ner",)))
    assert losses.keys() == {"tok2vec", "tagger", "ner"}
    assert max(numpy.abs(one).max() for one in found["E"]) > 0


@pytest.mark.parametrize(("n", "size", "accumulate"), [(1, 2, 1), (7, 2, 3), (8, 3, 2)])
def test_few_texts_and_parts_of_batches(tiny_bert, n, size, accumulate):
    compare(makes(tiny_bert, ("tagger", "textcat")), lambda examples: examples[:n], size, accumulate=accumulate)


def test_frozen_layers_and_components_have_no_gradient(tiny_bert):
    tuning = {"@misc": "spacy-transfer.Tuning.v1", "freeze": 1, "anchor": 0.1}
    model = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": tiny_bert, "window": 32}
    make = makes(tiny_bert, ("tagger", "textcat"), model={**model, "overlap": 8, "tuning": tuning})
    found, _ = compare(make, exclude=("tagger",))
    assert not [name for name in found if "embeddings" in name or "layer.0" in name]
    assert [name for name in found if "layer.1" in name]
    nlp, examples = make()
    names = {slot.named.name for name, pipe in nlp.pipeline for slot in slots_of(name, pipe, ())}
    assert not [name for name in names if "embeddings" in name or "layer.0" in name]


def test_an_adapter(tiny_bert):
    pytest.importorskip("peft")
    tuning = {"@misc": "spacy-transfer.Tuning.v1", "adapter": {"method": "lora", "r": 2}}
    model = {"@architectures": "spacy-transfer.TransformerBackbone.v1", "source": tiny_bert, "window": 32}
    found, _ = compare(makes(tiny_bert, model={**model, "overlap": 8, "tuning": tuning}))
    assert all("lora" in name for name in found if "encoder" in name)


TASKS = {"weighing": {"@misc": "spacy-transfer.TaskWeights.v1", "rule": "gradnorm", "weights": {"tagger": 2.0}}}


def several_steps(rank, make, size, n_steps):
    """Weights, and the weights of tasks, after some steps."""
    nlp, examples = make()
    group = ProcessGroup(60) if size > 1 else None
    training = SharedTraining(nlp, group) if group else None
    optimizer = SGD(0.01)
    for i in range(n_steps):
        step(nlp, examples[i % 4 :], optimizer)
    backbone = nlp.get_pipe("transfer_backbone")
    learned = {task: backbone.tasks.weights.of(task) for task in ("tagger", "textcat")}
    if group:
        training.stop()
        group.close()
    return arrays_of(nlp, "value"), learned


@pytest.mark.parametrize("surgery", [None, "pcgrad"])
def test_tasks_learn_their_weights_from_all_ranks(tiny_bert, surgery):
    make = makes(tiny_bert, ("tagger", "textcat"), surgery=surgery, **TASKS)
    (alone, learned), ranks = several_steps(0, make, 1, 5), run_ranks(several_steps, make, 2, 5)
    assert learned["tagger"] != 2.0
    for found, own in ranks:
        assert own == pytest.approx(learned, rel=1e-4)
        for name, value in alone.items():
            assert numpy.abs(found[name] - value).max() < 1e-5, name
    assert all((ranks[0][0][name] == ranks[1][0][name]).all() for name in alone)


def loss_scales(rank):
    """A step in which one rank's gradient is not finite: no rank makes it."""
    nlp, examples = MAKE[0]()
    group = ProcessGroup(60)
    SharedTraining(nlp, group)
    nlp.update(examples, sgd=False)
    (shim,) = tunable_shims(nlp.get_pipe("transfer_backbone").model)
    shim.loss_scale = LossScale(scale=1.0)
    flush(nlp.get_pipe("transfer_backbone"))
    if rank == 1:
        next(shim._model.parameters()).grad[0, 0] = numpy.inf
    before = arrays_of(nlp, "value")
    for _, pipe in nlp.pipeline:
        pipe.finish_update(Adam(0.01))
    after = arrays_of(nlp, "value")
    return shim.loss_scale.scale, [name for name in before if (before[name] != after[name]).any()]


MAKE = []


def test_a_loss_scale_is_that_of_all(tiny_bert):
    MAKE[:] = [makes(tiny_bert)]
    for scale, moved in run_ranks(loss_scales):
        assert scale == 0.5
        assert moved and not [name for name in moved if "encoder" in name]
