"""How sure our token heads say they are, by the probabilities that predictions come with."""

import numpy
import pytest
import spacy

from spacy_transfer.corpora.teaching.answers import Ask
from spacy_transfer.corpora.teaching.teacher import Teacher

from ...corpora.teachers import TEXTS
from .test_distillation import pipeline


@pytest.mark.parametrize("kind", ["ner", "ner_crf", "tagger", "tagger_crf"])
def test_confidences(tiny_bert, tmp_path, kind):
    nlp, pipe, _ = pipeline(tiny_bert, kind, steps=3)
    nlp.to_disk(tmp_path / "pipeline")
    ask = Ask(hard=(pipe.name,), confidence=True)
    teacher = Teacher(str(tmp_path / "pipeline"), ask, key="corpora.train", cache=tmp_path / "cache")
    blank = spacy.blank("en")
    found = list(teacher.annotate([blank.make_doc(text) for text in [*TEXTS, ""]], lambda doc: doc))
    for doc, (_, answers) in zip(nlp.pipe(TEXTS), found[:-1], strict=True):
        sure = answers[pipe.name]["confidence"]
        logits = pipe.scores_of([doc]).logits
        p = numpy.exp(logits) / numpy.exp(logits).sum(1, keepdims=True)
        if kind == "tagger":
            numpy.testing.assert_allclose(sure["tokens"], p.max(1), rtol=1e-4)
        elif kind == "tagger_crf":
            assert len(sure["tokens"]) == len(doc) and (sure["tokens"] > 0.3).all() and (sure["tokens"] < 1.0).all()
        else:
            scores = doc.spans["transfer_ner"].attrs["scores"]
            expected = [(e.start, e.end, e.label_, s) for e, s in zip(doc.ents, scores, strict=True)]
            got = [tuple(ent) for ent in sure["ents"]]
            assert [ent[:3] for ent in got] == [ent[:3] for ent in expected]
            assert [ent[3] for ent in got] == pytest.approx([ent[3] for ent in expected], abs=1e-4)
            inside = 1.0 - numpy.asarray(sure["outside"])
            assert all((inside[a:b] >= s - 1e-4).all() for a, b, _, s in got)
            assert ((inside > 0) & (inside < 1)).all()
    assert found[-1][1] == {pipe.name: {}}


@pytest.mark.parametrize("kind", ["textcat", "tagger", "tagger_crf", "ner_crf"])
def test_a_teacher_speaks_at_the_temperature_it_was_calibrated_to(tiny_bert, kind):
    nlp, pipe, examples = pipeline(tiny_bert, kind, steps=3)
    docs = list(nlp.get_pipe("transfer_backbone").pipe([eg.predicted for eg in examples]))
    pipe.model.attrs["temperature"] = 1.0
    before, cold = pipe.soft_targets(docs)
    pipe.model.attrs["temperature"] = 2.0
    after, warm = pipe.soft_targets(docs)
    for one, two in zip(cold, warm, strict=True):
        numpy.testing.assert_allclose(one["logits"], 2.0 * two["logits"], rtol=1e-6)
    assert ("start" in before) == kind.endswith("crf")
    for part in {"start", "matrix", "end"} & set(before):
        numpy.testing.assert_allclose(before[part], 2.0 * after[part], rtol=1e-6)
