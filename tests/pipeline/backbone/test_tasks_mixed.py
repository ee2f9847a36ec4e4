"""Several tasks on one backbone by MixedCorpus.v1: who moves, who does not, and what comes out."""

import numpy
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import SGD

from spacy_transfer.corpora.example_info import corpus_of, note_origin
from spacy_transfer.corpora.mixed.batchers import create_task_batcher_v1
from spacy_transfer.corpora.mixed.mixed_corpus import create_mixed_corpus_v1
from spacy_transfer.tuning import optimizers

from ...pipelines import LISTENER, backbone_config, make_examples, step, weights

TOKEN = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER}
HEADS = {
    "transfer_textcat": {},
    "transfer_textcat_multilabel": {},
    "transfer_ner": {"model": {**TOKEN, "decoder": "crf"}},
    "transfer_tagger": {"model": {**TOKEN, "decoder": "crf"}},
    "transfer_regressor": {},
    "tagger": {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}},
}
TEXTS = ["a cat sees a dog", "dogs sing", "", "birds see the cat here", "a bird"]


@pytest.fixture(autouse=True)
def extension():
    before = Doc.get_extension("score") if Doc.has_extension("score") else None
    Doc.set_extension("score", default=None, force=True)
    yield
    Doc.remove_extension("score")
    if before is not None:
        Doc.set_extension("score", default=before[0])


def annotated(nlp, kind=""):
    """Every annotation. Tags and labels carry the kind: so it shows who has learned from whom."""
    for i, text in enumerate(TEXTS):
        doc = nlp.make_doc(text)
        annotation = {
            "tags": [kind + token.text[0] for token in doc],
            "cats": {f"{kind}odd": float(i % 2), f"{kind}even": float(not i % 2)},
            "entities": [(t.idx, t.idx + len(t), f"{kind}PET") for t in doc if t.text.startswith(("cat", "dog"))],
        }
        example = Example.from_dict(doc, annotation)
        example.reference._.score = float(i)
        yield example


def corpus(**trains):
    """Corpora of the same texts; a label carries the name of its corpus."""
    blocks = {
        name: {"reader": lambda nlp, name=name: annotated(nlp, name), "trains": owners}
        for name, owners in trains.items()
    }
    return create_mixed_corpus_v1(corpora=blocks, sampling="round_robin")


def make(tiny_bert, reader, heads):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(tiny_bert))
    for head in heads:
        nlp.add_pipe(head, config=HEADS[head])
    nlp.initialize(lambda: list(reader(nlp))[:100])
    return nlp


def run(nlp, reader, n_steps, optimizer, batcher=None):
    """As `spacy train` with max_epochs = -1."""
    batches = []
    while len(batches) < n_steps:
        batches.extend((batcher or create_task_batcher_v1(size=4))(reader(nlp)))
    for batch in batches[:n_steps]:
        nlp.update(batch, sgd=False, drop=0.1)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
        optimizer.step_schedules()


def states(nlp):
    return {name: pipe.model.to_bytes() for name, pipe in nlp.pipeline if name != "transfer_backbone"}


def adamw():
    return optimizers.adamw_v1(learn_rate=0.003, weight_decay=0.1)


@pytest.mark.parametrize("owner", ["transfer_ner", "transfer_textcat"])
def test_masked_heads_are_bit_identical_after_100_steps(tiny_bert, owner):
    """After a step in which everything learned, so that the optimizer has momentum for all."""
    heads = [head for head in HEADS if head != "tagger"]
    nlp, optimizer = make(tiny_bert, corpus(all=None), heads), adamw()
    before = states(nlp)
    run(nlp, corpus(all=None), 1, optimizer)
    after = states(nlp)
    assert {name for name in heads if before[name] != after[name]} == set(heads)
    backbone = weights(nlp)
    run(nlp, corpus(all=[owner]), 100, optimizer)
    assert {name for name, state in states(nlp).items() if state != after[name]} == {owner}
    assert (weights(nlp) != backbone).mean() > 0.5


def test_stock_heads_stay_as_well(tiny_bert):
    heads = ["tagger", "transfer_ner"]
    nlp, optimizer = make(tiny_bert, corpus(all=None), heads), adamw()
    run(nlp, corpus(all=None), 1, optimizer)
    before = states(nlp)
    run(nlp, corpus(all=["transfer_ner"]), 10, optimizer)
    after = states(nlp)
    assert before["tagger"] == after["tagger"] and before["transfer_ner"] != after["transfer_ner"]


def test_nothing_moves_where_nobody_owns_anything(tiny_bert):
    nlp, optimizer = make(tiny_bert, corpus(all=None), ["transfer_ner", "transfer_tagger"]), adamw()
    run(nlp, corpus(all=None), 2, optimizer)
    before, backbone = states(nlp), weights(nlp)

    def of_nobody(nlp):
        for example in annotated(nlp, "all"):
            note_origin(example.reference, "all", [])
            yield example

    run(nlp, create_mixed_corpus_v1(corpora={"all": {"reader": of_nobody}}, sampling="round_robin"), 3, optimizer)
    assert states(nlp) == before and (weights(nlp) == backbone).all()


def test_labels_and_learning_stay_with_their_corpus(tiny_bert):
    """Each head gets the labels of its own corpus, and learns its own task, in batches of one task and in mixed."""
    reader = corpus(x=["transfer_textcat"], y=["transfer_ner"], z=["transfer_tagger"])
    for batcher in (create_task_batcher_v1(size=8), lambda examples: spacy.util.minibatch(examples, 8)):
        nlp = make(tiny_bert, reader, ["transfer_textcat", "transfer_ner", "transfer_tagger"])
        assert set(nlp.get_pipe("transfer_textcat").labels) == {"xodd", "xeven"}
        assert nlp.get_pipe("transfer_ner").labels == ("yPET",)
        assert all(tag.startswith("z") for tag in nlp.get_pipe("transfer_tagger").labels)
        run(nlp, reader, 160, adamw(), batcher)
        for i, text in enumerate(TEXTS):
            doc = nlp(text)
            assert text == "" or max(doc.cats, key=doc.cats.get) == ["xeven", "xodd"][i % 2]
            assert [ent.text for ent in doc.ents] == [t.text for t in doc if t.text.startswith(("cat", "dog"))]
            assert [token.tag_ for token in doc] == [f"z{token.text[0]}" for token in doc]


def test_a_mixed_batch_has_the_gradients_of_its_parts(tiny_bert):
    """In the backbone, to rounding: what the other tasks' examples add to a head's gradient is nothing."""
    reader = corpus(x=["transfer_textcat"], y=["transfer_ner"])
    nlp = make(tiny_bert, reader, ["transfer_textcat", "transfer_ner"])
    run(nlp, reader, 3, adamw())
    examples = list(reader(nlp))[10:20]

    def gradient(batch):
        encoder = nlp.get_pipe("transfer_backbone").model.shims[0].encoder
        encoder.zero_grad()
        nlp.update(batch, sgd=False, drop=0.0)
        nlp.get_pipe("transfer_backbone").steps.flush()
        return numpy.concatenate([p.grad.numpy().ravel().copy() for p in encoder.parameters() if p.grad is not None])

    parts = [[eg for eg in examples if corpus_of(eg.reference) == name] for name in "xy"]
    numpy.testing.assert_allclose(gradient(examples), sum(map(gradient, parts)), atol=2e-4)


def test_the_same_seed_gives_the_same_pipeline(tiny_bert):
    def trained():
        reader = corpus(x=["transfer_textcat"], y=["transfer_ner"])
        nlp = make(tiny_bert, reader, ["transfer_textcat", "transfer_ner"])
        run(nlp, reader, 5, adamw())
        return nlp.to_bytes()

    assert trained() == trained()


# Batches in parts


def two_encoders(tiny_bert, **settings):
    """A tagger on the backbone, and a stock `ner` with an encoder of its own, each with texts that train it alone."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(tiny_bert), **settings})
    nlp.add_pipe("transfer_tagger")
    nlp.add_pipe("ner")
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    output = nlp.get_pipe("transfer_tagger").model.get_ref("output")
    output.set_param("W", numpy.random.default_rng(0).normal(size=output.get_param("W").shape).astype("f"))
    parts = {"transfer_tagger": examples[:2], "ner": examples[2:]}
    for owner, part in parts.items():
        for example in part:
            note_origin(example.reference, owner, [owner])
    return nlp, parts


def update_in_parts(nlp, parts, losses, is_plain=False):
    """As `spacy train` with accumulate_gradient, or by a plain `nlp.update` that makes the step with the last part."""
    optimizer = SGD(0.05)
    for i, part in enumerate(parts):
        is_last = i + 1 == len(parts)
        nlp.update(part, sgd=optimizer if is_plain and is_last else False, losses=losses)
    for _, pipe in nlp.pipeline if not is_plain else ():
        pipe.finish_update(optimizer)


@pytest.mark.parametrize("surgery", [None, "pcgrad"])
@pytest.mark.parametrize("more", [0, 2])
def test_a_step_does_not_wait_for_heads_that_come_no_more(tiny_bert, more, surgery):
    """The last part of a batch trains none of the backbone's listeners: what an earlier one left is stepped all the
    same, in this step, and once. Losses that go on from earlier steps make no difference."""
    moved = []
    for order in (("ner", "transfer_tagger"), ("transfer_tagger", "ner")):
        nlp, parts = two_encoders(tiny_bert, surgery=surgery)
        losses = {}
        for _ in range(1 + more):
            update_in_parts(nlp, [parts[name] for name in order], losses)
        moved.append(weights(nlp))
        nlp("a cat sees a dog")
        assert (weights(nlp) == moved[-1]).all()
    start = weights(two_encoders(tiny_bert)[0])
    assert numpy.abs(moved[0] - start).max() > 1e-4
    numpy.testing.assert_allclose(moved[1], moved[0], rtol=1e-4, atol=1e-6)


def test_a_plain_update_after_parts_waits_for_its_heads(tiny_bert, tmp_path):
    """`nlp.update` with an optimizer asks for the step before any head of that batch has run: it must still wait. What
    is predicted or saved next has it."""
    found = []
    for order in (["transfer_tagger", "transfer_tagger"], ["transfer_tagger", "ner"]):
        for is_plain in (False, True):
            nlp, parts = two_encoders(tiny_bert)
            start = weights(nlp)
            update_in_parts(nlp, [parts[name] for name in order], {}, is_plain)
            nlp.to_disk(tmp_path / "saved")
            found.append(weights(nlp))
            assert (weights(spacy.load(tmp_path / "saved")) == found[-1]).all()
            assert (found[-1] != start).any()
    numpy.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-7)
    numpy.testing.assert_allclose(found[3], found[2], rtol=1e-5, atol=1e-7)


def test_saving_waits_for_no_head(tiny_bert, tmp_path):
    """No part but the first has written a loss, as in a pipeline whose other components skip it: saved is the step."""
    nlp, parts = two_encoders(tiny_bert)
    start = weights(nlp)
    nlp.update(parts["transfer_tagger"], sgd=False)
    nlp.update(parts["ner"], sgd=SGD(0.05), exclude=["ner", "transfer_tagger"])
    assert (weights(nlp) == start).all()
    nlp.to_disk(tmp_path / "saved")
    assert (weights(nlp) != start).any()
    assert (weights(spacy.load(tmp_path / "saved")) == weights(nlp)).all()


@pytest.mark.parametrize("calls_step_schedules", [True, False])
def test_a_late_step_of_our_optimizers_is_made_whole(tiny_bert, calls_step_schedules):
    """They collect gradients until `step_schedules`. A step that is owed until the next prediction comes after it."""
    nlp, parts = two_encoders(tiny_bert)
    start = weights(nlp)
    optimizer = optimizers.adamw_v1(learn_rate=0.01, grad_clip=0.0)
    step(nlp, parts["transfer_tagger"], optimizer)
    optimizer.step_schedules()
    plain, parts = two_encoders(tiny_bert)
    optimizer = optimizers.adamw_v1(learn_rate=0.01, grad_clip=0.0)
    plain.update(parts["transfer_tagger"], sgd=optimizer)
    if calls_step_schedules:
        optimizer.step_schedules()
    plain("a cat sees a dog")
    assert numpy.abs(weights(nlp) - start).max() > 1e-4
    numpy.testing.assert_allclose(weights(plain), weights(nlp), rtol=1e-5, atol=1e-6)
    for one, other in zip(
        nlp.get_pipe("transfer_tagger").model.walk(), plain.get_pipe("transfer_tagger").model.walk(), strict=True
    ):
        for name in one.param_names:
            numpy.testing.assert_allclose(other.get_param(name), one.get_param(name), rtol=1e-5, atol=1e-6)
