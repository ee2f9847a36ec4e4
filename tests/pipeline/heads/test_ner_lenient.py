"""`lenient = true` of transfer_ner: every token whose best tag is not "O" is in an entity."""

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from .test_ner import found, pipeline

WORDS = "anna the bob paris sees dog new york smith rome".split()


def make_docs(nlp, count=60):
    chance, docs = numpy.random.default_rng(0), []
    for _ in range(count):
        words = [str(word) for word in chance.choice([*WORDS, *WORDS, "\n"], size=chance.integers(1, 9))]
        docs.append(Doc(nlp.vocab, words=words, sent_starts=[None if i % 3 else True for i in range(len(words))]))
    return docs


def tags_of(nlp, docs):
    """The best tag of each token, as names."""
    pipe = nlp.get_pipe("transfer_ner")
    docs = [doc.copy() for doc in docs]
    scores = pipe.model.predict(list(nlp.get_pipe("transfer_backbone").pipe(docs)))
    tags = [pipe.tags[i] for i in scores.logits.argmax(axis=1)]
    ends = numpy.cumsum(scores.lengths)
    return [tags[end - length : end] for end, length in zip(ends, scores.lengths, strict=True)]


def untrained(source, scheme="bio", **config):
    nlp, examples = pipeline(source, "softmax", scheme, lenient=True, **config)
    nlp.initialize(lambda: examples)
    output = nlp.get_pipe("transfer_ner").model.get_ref("output")
    output.set_param("W", numpy.random.default_rng(1).normal(size=output.get_param("W").shape).astype("f"))
    return nlp


def annotate(nlp, docs):
    for _, pipe in nlp.pipeline:
        docs = list(pipe.pipe(docs))
    return docs


@pytest.mark.parametrize("scheme", ["bio", "biluo"])
def test_no_tag_is_lost(tiny_bert, scheme):
    nlp = untrained(tiny_bert, scheme)
    docs = make_docs(nlp)
    begun_by = set()
    for tags, doc in zip(tags_of(nlp, docs), annotate(nlp, docs), strict=True):
        for token, tag in zip(doc, tags, strict=True):
            if not token.is_space:
                assert token.ent_type_ == tag[2:]
        for ent in doc.ents:
            assert not ent[0].is_space and not ent[-1].is_space
            assert not any(token.is_sent_start for token in ent[1:])
            begun_by.add(tags[ent.start][0])
        scores = doc.spans["transfer_ner"].attrs["scores"]
        assert [ent._.confidence for ent in doc.ents] == scores and all(0 < score < 1 for score in scores)
    assert begun_by >= set("BI" if scheme == "bio" else "BIL"), "tags that are well-formed show nothing"


def test_it_is_saved(tiny_bert, tmp_path):
    nlp = untrained(tiny_bert)
    nlp.to_disk(tmp_path)
    texts = [" ".join(WORDS[i:]) for i in range(len(WORDS))]
    again = spacy.load(tmp_path)
    assert again.get_pipe("transfer_ner").lenient
    assert [found(doc) for doc in again.pipe(texts)] == [found(doc) for doc in nlp.pipe(texts)]
    strict = spacy.load(tmp_path, config={"components": {"transfer_ner": {"lenient": False}}})
    assert [found(doc) for doc in strict.pipe(texts)] != [found(doc) for doc in nlp.pipe(texts)]


def test_threshold(tiny_bert):
    nlp = untrained(tiny_bert)
    docs = annotate(nlp, make_docs(nlp))
    scores = sorted(score for doc in docs for score in doc.spans["transfer_ner"].attrs["scores"])
    nlp.get_pipe("transfer_ner").threshold = scores[len(scores) // 2]
    kept = [score for doc in annotate(nlp, make_docs(nlp)) for score in doc.spans["transfer_ner"].attrs["scores"]]
    assert sorted(kept) == pytest.approx(scores[len(scores) // 2 :])


def test_what_is_there_stays(tiny_bert):
    """Presets of a label of the head and of another, of one token and of two: they stay, nothing goes on with them,
    and what is found beside them is what the best tags say."""
    nlp = untrained(tiny_bert)
    docs = [doc for doc in make_docs(nlp, 150) if len(doc) > 5 and not any(token.is_space for token in doc)]
    wanted = tags_of(nlp, docs)
    for doc in docs:
        doc.set_ents([Span(doc, 1, 2, "DATE"), Span(doc, 3, 5, "PER")])
    follows = 0
    for tags, doc in zip(wanted, annotate(nlp, docs), strict=True):
        ents = {(ent.start, ent.end): ent for ent in doc.ents}
        assert ents[1, 2].label_ == "DATE" and ents[3, 5].label_ == "PER"
        assert ents[1, 2]._.confidence == ents[3, 5]._.confidence == 1.0
        for i in (0, *range(6, len(doc))):
            assert doc[i].ent_type_ == tags[i][2:]
        follows += tags[2][:1] == "I"
    assert len(docs) > 10 and follows


def test_nothing_goes_on_with_what_is_there_over_white_space(tiny_bert):
    nlp = untrained(tiny_bert)
    docs = [Doc(nlp.vocab, words=[token.text for token in doc]) for doc in make_docs(nlp, 200)]
    wanted, places = tags_of(nlp, docs), {}
    for n, (tags, doc) in enumerate(zip(wanted, docs, strict=True)):
        for i in range(2, len(doc)):
            if tags[i][0] == "I" and doc[i - 1].is_space and not doc[i].is_space and not doc[i - 2].is_space:
                doc.set_ents([Span(doc, i - 2, i - 1, tags[i][2:])])
                places[n] = i
    assert places
    docs = annotate(nlp, docs)
    for n, i in places.items():
        assert (i - 2, i - 1) in [(ent.start, ent.end) for ent in docs[n].ents]
        assert docs[n][i].ent_type_ == wanted[n][i][2:]


def test_not_with_a_crf(tiny_bert):
    with pytest.raises(ValueError, match="T395.*transfer_ner.*decoder"):
        pipeline(tiny_bert, "crf", lenient=True)


def test_what_it_decides_is_what_it_predicts(tiny_bert):
    """For calibration: the same entities and probabilities, and right where the reference has them."""
    nlp = untrained(tiny_bert)
    docs = make_docs(nlp)
    predicted = annotate(nlp, [doc.copy() for doc in docs])
    references = [doc.copy() for doc in predicted]
    for doc in references[::2]:
        doc.ents = []
    given = [nlp.get_pipe("transfer_backbone")(doc.copy()) for doc in docs]
    examples = [Example(doc, reference) for doc, reference in zip(given, references, strict=True)]
    decisions = nlp.get_pipe("transfer_ner").decisions(examples)
    sure, right = decisions.confidences(1.0)
    wanted = [(ent._.confidence, float(i % 2)) for i, doc in enumerate(predicted) for ent in doc.ents]
    numpy.testing.assert_allclose(sure, [score for score, _ in wanted], rtol=1e-6)
    assert right.tolist() == [value for _, value in wanted] and len(decisions) == len(wanted) > 10
    cold, _ = decisions.confidences(0.5)
    assert (cold != sure).any() and decisions.nll(0.5) != decisions.nll(1.0)
