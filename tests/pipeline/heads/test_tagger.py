"""transfer_tagger: tags and parts of speech, softmax and CRF, what may not be learned from.

Guards also: tokens.py.
"""

import numpy
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam

from spacy_transfer.heads.tagging.tokens import TokenScores, transitions_of

from ...pipelines import LISTENER, backbone_config, make_examples


def pipeline(source, decoder="softmax", *, frozen=True, **config):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config={**backbone_config(source), "frozen": frozen})
    model = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER, "decoder": decoder}
    nlp.add_pipe("transfer_tagger", config={"model": model, **config})
    return nlp, make_examples(nlp)


def train(nlp, examples, steps=60):
    nlp.initialize(lambda: examples)
    optimizer, losses = Adam(0.05, L2=0.0), []
    for _ in range(steps):
        now = {}
        nlp.update(examples, sgd=False, losses=now)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
        losses.append(now["transfer_tagger"])
    return losses


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
@pytest.mark.parametrize("attribute", ["tag", "pos"])
def test_it_learns_and_is_saved(tiny_bert, tmp_path, decoder, attribute):
    nlp, examples = pipeline(tiny_bert, decoder, attribute=attribute)
    losses = train(nlp, examples)
    assert losses[-1] < 0.1 * losses[0]
    assert nlp.evaluate(examples)[f"{attribute}_acc"] == 1.0
    expected = [[getattr(token, attribute + "_") for token in eg.reference] for eg in examples]
    texts = [eg.text for eg in examples]
    nlp.to_disk(tmp_path)
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    for other in (nlp, spacy.load(tmp_path), again):
        assert [[getattr(token, attribute + "_") for token in doc] for doc in other.pipe(texts)] == expected
    assert nlp("").text == ""


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_missing_tags_teach_nothing(tiny_bert, decoder):
    nlp, examples = pipeline(tiny_bert, decoder)
    nlp.initialize(lambda: examples)
    pipe, words = nlp.get_pipe("transfer_tagger"), ["a", "dog", "sings"]
    batch = [
        Example(Doc(nlp.vocab, words=words), Doc(nlp.vocab, words=words, tags=tags)) for tags in (None, ["A", "", "S"])
    ]
    logits = numpy.random.default_rng(0).normal(size=(6, len(pipe.labels))).astype("f")
    node = pipe.model.get_ref("transitions") if decoder == "crf" else None
    scores = TokenScores(logits, numpy.array([3, 3]), node and transitions_of(node))
    loss, d_scores = pipe.get_loss(batch, scores)
    probabilities = numpy.exp(logits) / numpy.exp(logits).sum(axis=1, keepdims=True)
    targets = probabilities.copy()
    for row, tag in ((3, "A"), (5, "S")):
        targets[row] = [float(label == tag) for label in pipe.labels]
    # Scores of neighbours are 0 yet, so that the CRF learns what softmax learns.
    numpy.testing.assert_allclose(d_scores.logits, probabilities - targets, atol=1e-6)
    expected = -sum(numpy.log(probabilities[row, pipe.labels.index(tag)]) for row, tag in ((3, "A"), (5, "S")))
    assert loss == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_is_torchs(tiny_bert):
    import torch

    nlp, examples = pipeline(tiny_bert, label_smoothing=0.1)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("transfer_tagger")
    n_tokens = sum(len(eg.predicted) for eg in examples)
    logits = torch.randn(n_tokens, len(pipe.labels), generator=torch.Generator().manual_seed(0)).requires_grad_()
    gold = torch.tensor([pipe.labels.index(token.tag_) for eg in examples for token in eg.reference])
    expected = torch.nn.functional.cross_entropy(logits, gold, label_smoothing=0.1, reduction="sum")
    expected.backward()
    lengths = numpy.array([len(eg.predicted) for eg in examples])
    loss, d_scores = pipe.get_loss(examples, TokenScores(logits.detach().numpy(), lengths, None))
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    numpy.testing.assert_allclose(d_scores.logits, logits.grad.numpy(), atol=1e-6)


def test_tags_that_are_there_stay_unless_told(tiny_bert):
    for overwrite in (False, True):
        nlp, examples = pipeline(tiny_bert, overwrite=overwrite)
        train(nlp, examples)
        words = [token.text for token in examples[0].predicted]
        doc = Doc(nlp.vocab, words=words, tags=["KEPT", *[""] * 4])
        for _, pipe in nlp.pipeline:
            doc = pipe(doc)
        assert [token.tag_ for token in doc] == ["T" if overwrite else "KEPT", "C", "S", "A", "D"]


def test_tokens_that_differ_are_aligned(tiny_bert):
    """Two gold tokens in one: learned where both have one tag."""
    nlp, examples = pipeline(tiny_bert)
    nlp.initialize(lambda: examples)
    predicted = Doc(nlp.vocab, words=["dogs", "catsee"])
    for tags, expected in ((["D", "C", "C"], ["D", "C"]), (["D", "C", "S"], ["D", None])):
        reference = Doc(nlp.vocab, words=["dogs", "cat", "see"], spaces=[True, False, False], tags=tags)
        pipe = nlp.get_pipe("transfer_tagger")
        mask = pipe.gold_mask([Example(predicted, reference)])
        found = [[label for label, allowed in zip(pipe.labels, row, strict=True) if allowed] for row in mask]
        assert [each[0] if len(each) == 1 else None for each in found] == expected


def test_labels_added_and_bad_input(tiny_bert):
    nlp, examples = pipeline(tiny_bert, "crf")
    train(nlp, examples)
    before = [[token.tag_ for token in doc] for doc in nlp.pipe(["the cat sees a dog"])]
    pipe = nlp.get_pipe("transfer_tagger")
    assert pipe.add_label("NEW") == 1 and pipe.tags == pipe.labels and pipe.labels[-1] == "NEW"
    assert [[token.tag_ for token in doc] for doc in nlp.pipe(["the cat sees a dog"])] == before
    other = Example.from_dict(nlp.make_doc("a dog"), {"tags": ["A", "NEWS"]})
    with pytest.raises(ValueError, match=r"T332.*'a dog'.*'NEWS'.*nearest: \['NEW'"):
        nlp.update([other])
    with pytest.raises(ValueError, match="T337.*'NOUNS'.*NOUN"):
        pipeline(tiny_bert, attribute="pos")[0].get_pipe("transfer_tagger").add_label("NOUNS")
    with pytest.raises(ValueError, match="T301"):
        pipeline(tiny_bert, label_smoothing=1.0)
    with pytest.raises(ValueError, match="T336"):
        pipeline(tiny_bert, "crf", label_smoothing=0.1)
    nlp, _ = pipeline(tiny_bert)
    bare = [Example.from_dict(nlp.make_doc("a dog"), {})]
    with pytest.raises(ValueError, match="T333.*a token with a tag"):
        nlp.initialize(lambda: bare)
