"""A pass over texts, against the pipeline's own predictions."""

import itertools

import numpy
import pytest
import spacy
from spacy.training import Example

from spacy_transfer.selection.suggesting.scan import judges_of, scan

from ...pipeline.test_calibration import trained
from ...pipelines import LISTENER, backbone_config, make_pipeline

TEXTS = ["aab xyz", "zyx zyx", "baa aba", "q", "aab zzy abab", "xyz"]
TAGGER = {"@architectures": "spacy-transfer.TokenHead.v1", "tok2vec": LISTENER}


def run(nlp, texts=TEXTS, *, names=None, measure="margin", over="most"):
    return scan(nlp, texts, judges_of(nlp, names, measure, over))


@pytest.fixture(scope="module")
def textcat(tiny_bert):
    return trained(tiny_bert)


def token_pipeline(source, name, tags, **model):
    """A head with random weights."""
    nlp = spacy.blank("en")
    nlp.add_pipe("transfer_backbone", config=backbone_config(source))
    nlp.add_pipe(name, config={"model": {**TAGGER, **model}})
    doc = nlp.make_doc(" ".join("abcd"[: len(tags)]))
    gold = {"tags": tags} if name == "transfer_tagger" else {"entities": tags}
    nlp.initialize(lambda: [Example.from_dict(doc, gold)])
    output = nlp.get_pipe(name).model.get_ref("output")
    output.set_param("W", numpy.random.default_rng(0).normal(size=output.get_param("W").shape).astype("f"))
    return nlp


def test_margins_are_those_of_calibrated_scores(textcat):
    textcat.get_pipe("transfer_textcat").model.attrs["temperature"] = 3.0
    found = run(textcat)
    for i, doc in enumerate(textcat.pipe(TEXTS)):
        first, second = sorted(doc.cats.values())[::-1]
        best = max(doc.cats, key=doc.cats.get)
        assert found.unsure[i] == pytest.approx(1 - (first - second), abs=1e-5)
        assert found.guesses[i]["transfer_textcat"].startswith(f"{best} {first:.2f}, ")
    textcat.get_pipe("transfer_textcat").model.attrs["temperature"] = 1.0


def test_rows_are_those_of_documents_whatever_the_batches(textcat):
    wanted = textcat.get_pipe("transfer_backbone").predict(list(map(textcat.make_doc, TEXTS))).documents
    wanted = wanted / numpy.linalg.norm(wanted, axis=1, keepdims=True)
    textcat.batch_size = 4
    found = run(textcat)
    assert len(found) == len(TEXTS) and found.rows.dtype == "float32"
    numpy.testing.assert_allclose(found.rows, wanted, atol=1e-5)


def test_several_labels_by_their_thresholds(tiny_bert):
    nlp = trained(tiny_bert, "transfer_textcat_multilabel", thresholds={"pet": 0.2})
    found = run(nlp)
    for i, doc in enumerate(nlp.pipe(TEXTS)):
        wanted = max(1 - abs(doc.cats["pet"] - 0.2) / 0.8, 1 - abs(doc.cats["car"] - 0.5) / 0.5)
        assert found.unsure[i] == pytest.approx(wanted, abs=1e-5)


def test_the_textcat_of_spacy(tiny_bert):
    nlp, _, _ = make_pipeline(tiny_bert, ["textcat"])
    found = run(nlp)
    for i, doc in enumerate(nlp.pipe(TEXTS)):
        assert found.unsure[i] == pytest.approx(1 - abs(doc.cats["long"] - doc.cats["short"]), abs=1e-5)


@pytest.mark.parametrize("over", ["most", "mean"])
def test_tokens(tiny_bert, over):
    nlp = token_pipeline(tiny_bert, "transfer_tagger", ["A", "B", "C"])
    found = run(nlp, over=over)
    for i, doc in enumerate(nlp.pipe(TEXTS, disable=["transfer_tagger"])):
        logits = nlp.get_pipe("transfer_tagger").model.predict([doc]).logits
        scores = numpy.sort(numpy.exp(logits) / numpy.exp(logits).sum(axis=1, keepdims=True), axis=1)
        margins = 1 - (scores[:, -1] - scores[:, -2])
        assert found.unsure[i] == pytest.approx(margins.max() if over == "most" else margins.mean(), abs=1e-5)
        assert found.guesses[i]["transfer_tagger"].startswith(f"{doc[int(margins.argmax())].text}: ")


def test_entities_of_a_crf_by_all_sequences_of_tags(tiny_bert):
    nlp = token_pipeline(tiny_bert, "transfer_ner", [(0, 1, "X")], decoder="crf")
    found, pipe = run(nlp, ["a b c"], measure="entropy", over="mean"), nlp.get_pipe("transfer_ner")
    doc = next(nlp.pipe(["a b c"], disable=["transfer_ner"]))
    logits, allowed = pipe.model.predict([doc]).logits, pipe.allowed
    marginals = numpy.zeros(logits.shape)
    for tags in itertools.product(range(len(pipe.tags)), repeat=3):
        between = all(allowed.matrix[a, b] for a, b in itertools.pairwise(tags))
        if allowed.start[tags[0]] and between and allowed.end[tags[-1]]:
            marginals[range(3), tags] += numpy.exp(sum(logits[i, tag] for i, tag in enumerate(tags)))
    marginals /= marginals.sum(axis=1, keepdims=True)
    entropies = -(marginals * numpy.log(marginals + 1e-30)).sum(axis=1) / numpy.log(len(pipe.tags))
    assert found.unsure[0] == pytest.approx(entropies.mean(), abs=1e-5)


def test_a_head_that_was_not_trained_does_not_count(tiny_bert):
    nlp, _, _ = make_pipeline(tiny_bert, [])
    nlp.add_pipe("transfer_tagger", config={"model": TAGGER})
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("a b"), {"tags": ["A", "B"]})])
    found = run(nlp)
    assert found.unsure is None and found.guesses == [{}] * len(TEXTS) and found.rows is not None
    with pytest.raises(ValueError, match="T933.*transfer_tagger"):
        judges_of(nlp, ["transfer_tagger"], "margin", "most")


def test_a_pipeline_without_rows():
    assert run(spacy.blank("en")).rows is None


def test_one_label(tiny_bert):
    with pytest.raises(ValueError, match=r"T934.*\['A'\]"):
        run(token_pipeline(tiny_bert, "transfer_tagger", ["A", "A"]))


def test_scores_that_are_not_finite(tiny_bert):
    nlp = trained(tiny_bert)
    output = nlp.get_pipe("transfer_textcat").model.get_ref("output")
    output.set_param("W", numpy.full_like(output.get_param("W"), numpy.nan))
    with pytest.raises(ValueError, match="T935.*aab xyz"):
        run(nlp)
