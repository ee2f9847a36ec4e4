"""A teacher is asked once about each text, over passes and processes, and answers as its pipeline does.

Guards also: answer_cache.py, answers.py.
"""

import shutil
import sqlite3
import time
from itertools import islice

import numpy
import pytest
import spacy
import torch
from spacy.pipeline import Tok2Vec
from spacy.tokens import Doc
from spacy.training import Example

from spacy_transfer.corpora.doc_copies import copy_for
from spacy_transfer.corpora.teaching.answer_cache import doc_key
from spacy_transfer.corpora.teaching.answers import Ask
from spacy_transfer.corpora.teaching.teacher import BATCH, Teacher, pipeline_fingerprint

from ..teachers import TEXTS, Counter, gold, stock_pipeline

BILSTM = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 16,
        "attrs": ["NORM"],
        "rows": [50],
        "include_static_vectors": False,
    },
    "encode": {"@architectures": "spacy.TorchBiLSTMEncoder.v1", "width": 16, "depth": 1, "dropout": 0.0},
}
ALL = ("ner", "parser", "tagger", "textcat")


def teacher(stock, cache, hard=ALL, soft=(), **settings):
    return Teacher(str(stock), Ask(hard, soft, **settings), key="corpora.train", cache=cache)


def answers(asked, texts=TEXTS):
    nlp = spacy.blank("en")
    return [answer for _, answer in asked.annotate([nlp.make_doc(text) for text in texts], lambda doc: doc)]


def test_answers_are_what_the_pipeline_says(stock, tmp_path):
    found = answers(teacher(stock, tmp_path))
    for doc, answer in zip(spacy.load(stock).pipe(TEXTS), found, strict=True):
        assert answer["tagger"]["token.tag"] == [token.tag_ for token in doc]
        assert answer["parser"]["heads"] == [token.head.i for token in doc]
        assert answer["parser"]["deps"] == [token.dep_ for token in doc]
        assert [tuple(ent) for ent in answer["ner"]["ents"]] == [(e.start, e.end, e.label_) for e in doc.ents]
        assert answer["textcat"]["cats"] == pytest.approx(doc.cats)
    assert any(answer["ner"]["ents"] for answer in found)


def test_scores_are_those_that_predictions_are_made_of(stock, tmp_path):
    asked = teacher(stock, tmp_path, hard=(), soft=("tagger", "textcat", "tok2vec"))
    found, nlp = answers(asked), spacy.load(stock)
    assert asked.shared["textcat"]["labels"] == list(nlp.get_pipe("textcat").labels)
    assert asked.shared["textcat"]["exclusive"] is True
    for doc, answer in zip(nlp.pipe(TEXTS), found, strict=True):
        odds = numpy.exp(answer["textcat"]["scores"]["logits"])
        labels = asked.shared["textcat"]["labels"]
        assert dict(zip(labels, odds / odds.sum(), strict=True)) == pytest.approx(doc.cats, abs=1e-5)
        given = answer["tagger"]["scores"]["logits"]
        assert [asked.shared["tagger"]["labels"][i] for i in given.argmax(axis=1)] == [token.tag_ for token in doc]
        layer = nlp.get_pipe("tagger").model.get_ref("softmax")
        by_hand = doc.tensor @ layer.get_param("W").T + layer.get_param("b")
        numpy.testing.assert_allclose(_centred(given), _centred(by_hand), atol=1e-4)
        numpy.testing.assert_allclose(answer["tok2vec"]["scores"]["rows"], doc.tensor, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(("name", "node"), [("tagger", "softmax"), ("textcat", "output_layer")])
def test_scores_that_are_not_finite_are_refused(stock, tmp_path, name, node):
    nlp = spacy.load(stock)
    layer = nlp.get_pipe(name).model.get_ref(node)
    layer.set_param("b", layer.get_param("b") * numpy.nan)
    nlp.to_disk(tmp_path / "broken")
    with pytest.raises(ValueError, match=rf"T564.*corpora\.train.*'{name}'.*broken.*'Anna sings in Rome'"):
        answers(teacher(tmp_path / "broken", tmp_path, hard=(), soft=(name,)))


def test_rows_beyond_half_precision_are_refused(stock, tmp_path):
    nlp = spacy.load(stock)
    for node in nlp.get_pipe("tok2vec").model.walk():
        if node.name == "layernorm":
            node.set_param("b", node.get_param("b") + 1e5)
    nlp.to_disk(tmp_path / "large")
    with pytest.raises(ValueError, match="T564.*rows.*'tok2vec'"):
        answers(teacher(tmp_path / "large", tmp_path, hard=(), soft=("tok2vec",)))


def _centred(logits):
    """What softmax sees of them."""
    return logits - logits.mean(axis=1, keepdims=True)


def test_confidences(stock, tmp_path):
    found = answers(teacher(stock, tmp_path, confidence=True))
    for doc, answer in zip(spacy.load(stock).pipe(TEXTS), found, strict=True):
        sure = answer["ner"]["confidence"]
        scores = {tuple(ent[:3]): ent[3] for ent in sure["ents"]}
        assert all(scores[ent.start, ent.end, ent.label_] > 0.5 for ent in doc.ents)
        inside = numpy.array([token.ent_iob_ != "O" for token in doc])
        assert ((numpy.array(sure["outside"]) < 0.5) == inside).all()
        tags = answer["tagger"]["confidence"]["tokens"]
        assert len(tags) == len(doc) and (numpy.array(tags) <= 1.0).all() and min(tags) > 0.5
        assert "confidence" not in answer["parser"]


def test_one_forward_for_each_text(stock, tmp_path, monkeypatch):
    count = Counter(monkeypatch, Tok2Vec)
    texts = [f"{text} {i}" for i in range(BATCH) for text in TEXTS[:2]] + TEXTS + TEXTS
    asked = teacher(stock, tmp_path)
    first, second = answers(asked, texts), answers(asked, texts)
    assert sorted(count.texts) == sorted(set(texts))
    # Another process, another reader: nothing is asked, and nothing is loaded.
    again = teacher(stock, tmp_path)
    third = answers(again, texts)
    assert len(count.texts) == len(set(texts)) and again._nlp is None
    assert list(map(str, first)) == list(map(str, second)) == list(map(str, third))


def test_what_was_answered_stays_when_a_run_is_broken_off(stock, tmp_path, monkeypatch):
    count = Counter(monkeypatch, Tok2Vec)
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(f"text {i}") for i in range(3 * BATCH)]
    stream = teacher(stock, tmp_path).annotate(docs, lambda doc: doc)
    assert len(list(islice(stream, BATCH + 1))) == BATCH + 1
    stream.close()
    assert len(count.texts) == 2 * BATCH
    list(teacher(stock, tmp_path).annotate(docs, lambda doc: doc))
    assert len(count.texts) == 3 * BATCH


def test_docs_are_read_as_they_come(stock, tmp_path):
    """No more than a batch is taken before the first answer is given."""
    nlp, taken = spacy.blank("en"), []

    def docs():
        for i in range(10 * BATCH):
            taken.append(i)
            yield nlp.make_doc(f"text {i}")

    stream = teacher(stock, tmp_path).annotate(docs(), lambda doc: doc)
    next(stream)
    assert len(taken) == BATCH
    stream.close()


def test_tokens_are_those_of_the_student(stock, tmp_path):
    vocab = spacy.blank("en").vocab
    doc = Doc(vocab, words=["An", "na", "sings", "."], spaces=[False, True, False, False])
    empty = Doc(vocab)
    found = [a for _, a in teacher(stock, tmp_path).annotate([doc, empty], lambda doc: doc)]
    assert len(found[0]["tagger"]["token.tag"]) == 4 and found[1] == {name: {} for name in ALL}
    joined = [a for _, a in teacher(stock, tmp_path).annotate([Doc(vocab, words=["Anna", "sings"])], lambda doc: doc)]
    assert len(joined[0]["tagger"]["token.tag"]) == 2


def test_exceptions_of_the_tokenizer_are_known_as_in_the_pipeline(stock, tmp_path):
    nlp = copy_for(spacy.blank("en").make_doc("I can't"), teacher(stock, tmp_path).nlp)
    assert [token.norm_ for token in nlp] == ["i", "can", "not"]


def test_another_pipeline_is_asked_anew(stock, tmp_path, monkeypatch):
    folder = tmp_path / "pipeline"
    nlp = spacy.load(stock)
    nlp.to_disk(folder)
    before = answers(teacher(folder, tmp_path / "cache", ("textcat",)))
    fingerprint = pipeline_fingerprint(folder)
    nlp.get_pipe("textcat").model.get_ref("output_layer").set_param("b", numpy.array([5.0, 0.0], "f"))
    time.sleep(0.01)
    nlp.to_disk(folder)
    assert pipeline_fingerprint(folder) != fingerprint
    after = answers(teacher(folder, tmp_path / "cache", ("textcat",)))
    assert before[0]["textcat"]["cats"] != after[0]["textcat"]["cats"]


def tags_by(asked, text):
    return answers(asked, [text])[0]["tagger"]["token.tag"]


def test_a_pipeline_that_changes_under_a_reader_is_read_again(tmp_path):
    """Or what the old one says would be kept as the answer of the new."""
    folder, cache = tmp_path / "pipeline", tmp_path / "cache"
    stock_pipeline(["tagger"]).to_disk(folder)
    asked = teacher(folder, cache, ("tagger",))
    assert tags_by(asked, TEXTS[0])[0] == "NAME"
    other = stock_pipeline(["tagger"], steps=0)
    other.get_pipe("tagger").model.get_ref("softmax").set_param("b", numpy.array([0.0, 99.0], "f"))
    time.sleep(0.01)
    other.to_disk(folder)
    assert set(tags_by(asked, TEXTS[1])) == {"WORD"}
    assert tags_by(teacher(folder, cache, ("tagger",)), TEXTS[1]) == tags_by(asked, TEXTS[1])


def test_a_pipeline_that_changes_while_it_is_asked(tmp_path):
    folder = tmp_path / "pipeline"
    nlp = stock_pipeline(["tagger"])
    nlp.to_disk(folder)
    asked = teacher(folder, tmp_path / "cache", ("tagger",))
    stream = asked.annotate((nlp.make_doc(f"{i}") for i in range(2 * BATCH)), lambda doc: doc)
    next(stream)
    time.sleep(0.01)
    nlp.to_disk(folder)
    nlp.get_pipe("tagger").model.get_ref("softmax").set_param("b", numpy.array([0.0, 99.0], "f"))
    nlp.to_disk(folder)
    with pytest.raises(ValueError, match=r"T558.*corpora\.train\.source.*has changed"):
        list(stream)


def test_a_copy_of_a_pipeline_goes_by_its_own_name(stock, tmp_path):
    assert teacher(stock, tmp_path / "cache").shared["ner"]["source"] == str(stock)
    shutil.copytree(stock, tmp_path / "copy")
    assert teacher(tmp_path / "copy", tmp_path / "cache").shared["ner"]["source"] == str(tmp_path / "copy")


def test_asking_draws_no_random_numbers(tmp_path):
    """Layers of torch are initialised while a pipeline is loaded: the same seed would give another training once all
    answers are on disk."""
    nlp = spacy.blank("en")
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": BILSTM}})
    examples = [gold(nlp, text) for text in TEXTS]
    nlp.initialize(lambda: examples)
    nlp.to_disk(tmp_path / "pipeline")
    before = torch.get_rng_state()
    answers(teacher(tmp_path / "pipeline", tmp_path / "cache", ("tagger",)))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_other_components_write_is_no_answer(tmp_path):
    """Two classifiers, and a ruler before the recognizer of entities, write to the same place."""
    nlp = stock_pipeline(["ner", "textcat"])
    nlp.add_pipe("entity_ruler", before="ner").add_patterns([{"label": "ANIMAL", "pattern": "dog"}])
    more = nlp.add_pipe("textcat_multilabel")
    docs = [nlp.make_doc(text) for text in TEXTS]
    more.initialize(lambda: [Example.from_dict(doc, {"cats": {"long": 1.0, "short": 0.0}}) for doc in docs], nlp=nlp)
    nlp.to_disk(tmp_path / "pipeline")
    asked = teacher(tmp_path / "pipeline", tmp_path / "cache", ("entity_ruler", "ner", "textcat", "textcat_multilabel"))
    (found,) = answers(asked, ["Bob sees the dog in Paris"])
    assert set(found["textcat"]["cats"]) == {"animal", "human"}
    assert set(found["textcat_multilabel"]["cats"]) == {"long", "short"}
    assert found["entity_ruler"]["ents"] == [[3, 4, "ANIMAL"]]
    assert {ent[2] for ent in found["ner"]["ents"]} <= {"PERSON", "GPE"}
    assert found["ner"]["others"] == [[3, 4, "ANIMAL"]]
    assert asked.shared["textcat_multilabel"]["thresholds"] == {"long": 0.5, "short": 0.5}


def test_tokens_have_keys_of_their_own():
    vocab = spacy.blank("en").vocab
    one = Doc(vocab, words=["a\x00b"], spaces=[False])
    assert doc_key(one) != doc_key(Doc(vocab, words=["a", "b"], spaces=[False, False]))


def test_another_language_is_said_once(stock, tmp_path, caplog):
    asked = teacher(stock, tmp_path)
    asked.compare_language(spacy.blank("xx"))
    teacher(stock, tmp_path).compare_language(spacy.blank("en"))
    assert "W542" not in caplog.text
    asked = teacher(stock, tmp_path)
    for _ in range(2):
        asked.compare_language(spacy.blank("de"))
    assert caplog.text.count("W542") == 1 and "'en'" in caplog.text and "'de'" in caplog.text


def test_components_after_the_last_one_are_left_out(stock, tmp_path):
    assert teacher(stock, tmp_path, ("tagger",)).nlp.pipe_names == ["tok2vec", "tagger"]


def test_errors(stock, tmp_path):
    with pytest.raises(ValueError, match=r"T540.*corpora\.train\.source.*nowhere"):
        answers(Teacher("nowhere", Ask(ALL), key="corpora.train", cache=tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"T540.*no config\.cfg"):
        answers(teacher(tmp_path / "empty", tmp_path))
    with pytest.raises(ValueError, match=r"T541.*'taggr'.*'tok2vec', 'tagger'.*Near it: \['tagger'\]"):
        answers(teacher(stock, tmp_path, ("taggr",)))
    nlp = spacy.load(stock)
    nlp.disable_pipe("ner")
    nlp.to_disk(tmp_path / "disabled")
    with pytest.raises(ValueError, match=r"T541.*'ner' at work.*disabled there.*It has"):
        answers(teacher(tmp_path / "disabled", tmp_path))
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"T549.*corpora\.train\.cache"):
        answers(teacher(stock, tmp_path / "file" / "cache"))


def test_a_damaged_cache_is_named(stock, tmp_path):
    answers(teacher(stock, tmp_path))
    (file,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(file) as opened:
        opened.execute("UPDATE answers SET value = x'c1'")
    with pytest.raises(ValueError, match=rf"T549.*{file.name}"):
        answers(teacher(stock, tmp_path))
    for path in tmp_path.iterdir():
        path.unlink()
    file.write_text("no database" * 1000)
    with pytest.raises(ValueError, match=rf"T549.*{file.name}"):
        answers(teacher(stock, tmp_path))
